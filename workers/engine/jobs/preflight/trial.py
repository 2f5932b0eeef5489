"""A few real steps of a run: what one takes, and what it needs.

The learners are those of the job, on its batches, in its one loop; only the loop is started over within the first
epoch until there are enough steps to tell. What they learn is thrown away.
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
from workers.engine.data.columns import Rows
from workers.engine.jobs.preflight.memory import Held, held_by
from workers.engine.jobs.runs.runner import Runner
from workers.engine.training.batches import BatchSchedule
from workers.engine.training.checkpoints.folder import CheckpointFolder
from workers.engine.training.learner import Learner
from workers.engine.training.loop import Loop
from workers.engine.training.vectorised import VectorisedLearners

WARM_STEPS = 2
"""Steps before the clock runs: caches fill, optimisers make their state, kernels are chosen."""
FEWEST_STEPS, MOST_STEPS, ROUND = 3, 20, 5
ENOUGH_SECONDS = 4.0
_NEVER = float("inf")


@dataclass(frozen=True)
class TrialFigures:
    """What a run takes: seconds of a step and of an epoch's end (validation, and the order of the next), bytes."""

    learners: tuple[str, ...]
    step: float
    epoch: float
    held: Held


def now(device: torch.device) -> float:
    """Seconds, once the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Ticks:
    """A stop that notes when the loop asks it: at the beginning of each step."""

    def __init__(self, stop: Stop, device: torch.device) -> None:
        self._stop = stop
        self._device = device
        self.times: list[float] = []

    def requested(self) -> StopReason | None:
        self.times.append(now(self._device))
        return self._stop.requested()


class TrialRun:
    """The loop of a run, as often as is needed. Raises Stopped, and UserError as the loop does."""

    def __init__(
        self, runner: Runner, schedule: BatchSchedule, learners: Sequence[Learner | VectorisedLearners]
    ) -> None:
        self._runner = runner
        self._schedule = schedule
        self._learners = learners
        self._ticks = Ticks(runner.stop, runner.device)
        folder = CheckpointFolder(Path(runner.order.attempt_dir) / "trial", runner.order.attempt)
        # Without validation rows an epoch's end costs nothing: that is measured apart.
        nobody = replace(schedule, validation=schedule.validation[:0])
        self._loop = Loop(
            learners,
            runner.data.inputs,
            nobody,
            folder,
            _NEVER,
            lambda event: None,
            self._ticks,
            name="trial",
            augmentation=runner.data.augmentation,
        )

    def run(self) -> TrialFigures:
        """Measure."""
        saved = SavedTensors(p for learner in self._learners for p in learner.parameters.all)
        with saved.hooks():
            times = self._steps(WARM_STEPS)
        steps, begins = self._timed(times[-1] - times[-2])
        validation = self._validation()
        held = sum((held_by(learner) for learner in self._learners), Held())
        learners = tuple(learner.name for learner in self._learners)
        return TrialFigures(learners, median(steps), median(begins) + validation, replace(held, activations=saved.most))

    def _timed(self, pace: float) -> tuple[list[float], list[float]]:
        """Seconds of each step, and of each beginning of an epoch; `pace` is about what a step takes."""
        at_once = min(ROUND, max(1, int(ENOUGH_SECONDS / pace) // 4))
        steps: list[float] = []
        begins: list[float] = []
        while len(steps) < FEWEST_STEPS or (len(steps) < MOST_STEPS and sum(steps) < ENOUGH_SECONDS):
            began = now(self._runner.device)
            times = self._steps(at_once)
            begins.append(times[0] - began)
            steps += [after - before for before, after in pairwise(times)]
        return steps, begins

    def _steps(self, count: int) -> list[float]:
        """The first `count` steps of the first epoch, or all that it has; when each began, and the end of the last."""
        loop, schedule = self._loop, self._schedule
        count = min(count, schedule.batches)
        training = schedule.training.model_copy(update={"epochs": None, "steps": count})
        loop.schedule = replace(loop.schedule, training=training)
        loop.step = 0
        self._ticks.times = []
        loop.run()
        return [*self._ticks.times, now(self._runner.device)]

    def _validation(self) -> float:
        """Seconds in which everybody is judged once; the second time is taken where the first was quick."""
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
