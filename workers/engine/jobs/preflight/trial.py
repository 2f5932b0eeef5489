"""Measures time and memory of a few training steps of a run.

Learners, batches and loop are those of the job; the loop is restarted within the first epoch until enough steps were
measured. The trained weights are discarded.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from workers.engine.common.memory import SavedTensors
from workers.engine.common.stop import Stop, StopReason
from workers.engine.data.rows.columns import Rows
from workers.engine.jobs.preflight.memory import MemoryUse, memory_of
from workers.engine.jobs.runs.runner import Runner
from workers.engine.training.batches import BatchSchedule
from workers.engine.training.checkpoints.folder import CheckpointFolder
from workers.engine.training.learner import Learner
from workers.engine.training.loop import Loop
from workers.engine.training.vectorised.learners import VectorisedLearners

WARM_UP_STEPS = 2
"""Steps before the measurement: caches are filled, optimizer state is created, kernels are selected."""
MIN_STEPS, MAX_STEPS, STEPS_AT_ONCE = 3, 20, 5
ENOUGH_SECONDS = 4.0
_NEVER = float("inf")


@dataclass(frozen=True)
class TrialResult:
    """Seconds of a step and of the end of an epoch (validation, order of the next epoch), and memory."""

    learners: tuple[str, ...]
    step_seconds: float
    epoch_seconds: float
    memory: MemoryUse


def now(device: torch.device) -> float:
    """Clock in seconds, after the device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class StepTimer:
    """A `Stop` that records when the loop polls it, at the beginning of each step."""

    def __init__(self, stop: Stop, device: torch.device) -> None:
        self._stop = stop
        self._device = device
        self.times: list[float] = []

    def requested(self) -> StopReason | None:
        self.times.append(now(self._device))
        return self._stop.requested()


class TrialRun:
    """A measurement of the loop of a run. Raises Stopped, and UserError as the loop does."""

    def __init__(
        self, runner: Runner, schedule: BatchSchedule, learners: Sequence[Learner | VectorisedLearners]
    ) -> None:
        self._runner = runner
        self._schedule = schedule
        self._learners = learners
        self._timer = StepTimer(runner.stop, runner.device)
        folder = CheckpointFolder(Path(runner.order.attempt_dir) / "trial", runner.order.attempt)
        # Validation is measured separately.
        without_validation = replace(schedule, validation=schedule.validation[:0])
        self._loop = Loop(
            learners,
            runner.data.inputs,
            without_validation,
            folder,
            _NEVER,
            lambda event: None,
            self._timer,
            name="trial",
            augmentation=runner.data.augmentation,
        )

    def run(self) -> TrialResult:
        saved = SavedTensors(p for learner in self._learners for p in learner.parameters.all)
        with saved.hooks():
            times = self._steps(WARM_UP_STEPS)
        steps, starts = self._measure(times[-1] - times[-2])
        validation = self._validation()
        memory = sum((memory_of(learner) for learner in self._learners), MemoryUse())
        memory = replace(memory, activations=saved.peak)
        learners = tuple(learner.name for learner in self._learners)
        return TrialResult(learners, median(steps), median(starts) + validation, memory)

    def _measure(self, step_seconds: float) -> tuple[list[float], list[float]]:
        """Seconds of each step, and of each start of an epoch; `step_seconds` is a first estimate."""
        at_once = min(STEPS_AT_ONCE, max(1, int(ENOUGH_SECONDS / step_seconds) // 4))
        steps: list[float] = []
        starts: list[float] = []
        while len(steps) < MIN_STEPS or (len(steps) < MAX_STEPS and sum(steps) < ENOUGH_SECONDS):
            began = now(self._runner.device)
            times = self._steps(at_once)
            starts.append(times[0] - began)
            steps += [after - before for before, after in pairwise(times)]
        return steps, starts

    def _steps(self, count: int) -> list[float]:
        """Run the first `count` steps of the first epoch (or all); returns when each began, and the end of the last."""
        loop, schedule = self._loop, self._schedule
        count = min(count, schedule.batches)
        training = schedule.training.model_copy(update={"epochs": None, "steps": count})
        loop.schedule = replace(loop.schedule, training=training)
        loop.step = 0
        self._timer.times = []
        loop.run()
        return [*self._timer.times, now(self._runner.device)]

    def _validation(self) -> float:
        """Seconds of one validation of all learners; measured twice if the first takes less than a second."""
        rows = Rows.on(self._runner.device, self._schedule.validation)
        seconds = 0.0
        for _ in range(2):
            began = now(self._runner.device)
            for learner in self._learners if len(rows) else ():
                learner.end_epoch(self._runner.data.inputs, rows, 1, 1)
            seconds = now(self._runner.device) - began
            if seconds > 1.0:
                break
        return seconds
