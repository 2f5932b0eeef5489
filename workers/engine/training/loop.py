"""The training loop: it trains learners (student, control, peers) on one stream of batches.

Everything that a step depends on is a function of its number and the learners' state: the order of rows of (seed,
epoch), dropout and balancing of (seed, step), the learning rate of the step. A checkpoint between two steps is
therefore complete, and learners do not affect each other.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.wire.events import MetricsEvent, ProgressEvent
from workers.engine.common.progress import moved
from workers.engine.common.stop import Stop, Stopped
from workers.engine.data.augment.plan import AugmentationPlan
from workers.engine.data.rows.columns import Rows
from workers.engine.data.rows.inputs import Inputs, InputsAhead
from workers.engine.training.batch import Counts, MicroBatch, micro_batches
from workers.engine.training.batches import BatchSchedule
from workers.engine.training.checkpoints.folder import Checkpoint, CheckpointFolder, RunFacts
from workers.engine.training.checkpoints.writer import CheckpointWriter
from workers.engine.training.interface import Emit, Trainable
from workers.engine.training.passes.side_by_side import SideBySide

PROGRESS_SECONDS = 0.25
_WORTH_SECONDS = 1.0
"""Training time since the last checkpoint from which a finished run is checkpointed again."""


@dataclass
class Loop:
    """Trains `learners` in `run`, which returns when all have finished, or raises Stopped after a checkpoint."""

    learners: Sequence[Trainable]
    inputs: Inputs
    schedule: BatchSchedule
    checkpoints: CheckpointFolder
    checkpoint_seconds: float
    """Time between two checkpoints; 0: a checkpoint before every step."""
    emit: Emit
    stop: Stop
    facts: RunFacts = field(default_factory=RunFacts)
    """Facts of the run that every checkpoint contains."""
    augmentation: AugmentationPlan | None = None
    """How training rows are augmented; None: not at all."""
    name: str = ""
    """The subfolder of its checkpoints; empty for the job's main run."""
    offset: int = 0
    """Optimizer steps of the job's runs before this one."""
    all_steps: int = 0
    """Optimizer steps of all runs of the job."""
    at_once: int = 1
    """Learners that may train at once, on a processor each."""
    members: int = 1
    """Runs of the job that each step advances by one step."""
    step: int = 0
    seconds: float = 0.0
    """Wall time of all attempts so far."""
    _ahead: InputsAhead = field(init=False, repr=False)
    _writer: CheckpointWriter = field(init=False, repr=False)
    _learners_at_once: SideBySide = field(init=False, repr=False)
    _saved_step: int | None = field(default=None, init=False)
    """The step of the newest checkpoint."""

    def resume(self, checkpoint: Checkpoint) -> None:
        """Load the state of `checkpoint`."""
        self.step = self._saved_step = checkpoint.step
        self.seconds = checkpoint.state["seconds"]
        for learner in self.learners:
            learner.load(checkpoint.tensors, checkpoint.state["learners"][learner.name])

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.step // self.schedule.batches

    @property
    def waited(self) -> float:
        """Seconds of this attempt in which steps waited for their rows."""
        return self._ahead.waited

    @property
    def done(self) -> int:
        """Optimizer steps of the job so far."""
        return self.offset + self.members * self.step

    def run(self) -> None:
        """Train to completion. Raises Stopped after a checkpoint, and UserError `diverged`."""
        self._ahead = self.inputs.ahead(self._coming())
        clock, self._writer = _Clock(self), CheckpointWriter(self.checkpoints, self.emit)
        self._learners_at_once = SideBySide(self.at_once)
        try:
            for batch, counts, epoch, ends_epoch in self._batches():
                self._stop_or_save(clock)
                self._train_step(batch, counts, epoch)
                clock.report(rows=len(batch))
                if ends_epoch:
                    self._end_epoch(epoch)
            clock.report(force=True)
            if self._is_worth_saving(clock):
                self.save(clock)
            else:
                self._emit_points()
                self._raise_if_not_finite()
        finally:
            self._ahead.close()
            self._writer.close()
            self._learners_at_once.close()
        self.seconds = clock.total()

    def _active(self) -> list[Trainable]:
        return [learner for learner in self.learners if not learner.stopped]

    def _batches(self) -> Iterator[tuple[Tensor, dict[str, Counts], int, bool]]:
        """Batches from the current step on: (row numbers, counts by learner, epoch from 1, is last of its epoch)."""
        while self.step < self.schedule.steps and self._active():
            number, first = divmod(self.step, self.schedule.batches)
            batches = self.schedule.epoch(number)
            counts = {each.name: each.counts(batches) for each in self._active()}
            for i in range(first, len(batches)):
                ends_epoch = i + 1 == len(batches) or self.step + 1 == self.schedule.steps
                yield batches[i], {name: by_batch[i] for name, by_batch in counts.items()}, number + 1, ends_epoch
                if ends_epoch:
                    break

    def _coming(self) -> Iterator[Tensor]:
        """The rows that the steps from the current one on take, in order: a function of the schedule alone."""
        schedule = self.schedule
        number, first = divmod(self.step, schedule.batches)
        left = schedule.steps - self.step
        while left > 0:
            batches = schedule.epoch(number)[first:][:left]
            for batch in batches:
                for part in micro_batches(Rows(batch, batch), self._micro_batch(batch)):
                    yield from self.augmentation.taken(part.host, number) if self.augmentation else [part.host]
            number, first, left = number + 1, 0, left - len(batches)

    def _micro_batch(self, batch: Tensor) -> int:
        return self.schedule.training.micro_batch_size or len(batch)

    def _stop_or_save(self, clock: "_Clock") -> None:
        """Called before each step. Raises Stopped after a checkpoint."""
        moved()
        reason = self.stop.requested()
        if reason is not None:
            self.save(clock)
            self._writer.finish()
            raise Stopped(reason)
        self._writer.poll()
        if self._checkpoint_due(clock):
            self.save(clock)

    def _train_step(self, batch: Tensor, counts: dict[str, Counts], epoch: int) -> None:
        active = self._active()
        for learner in active:
            learner.begin_step(counts[learner.name], self.step)
        parts = self._parts(batch, epoch - 1)
        for learner in active:
            learner.observe(parts, counts[learner.name], self.step, epoch)
        if self._may_train_at_once(active):
            self._learners_at_once.run([partial(self._step_of, each, parts, counts, epoch) for each in active])
            self.step += 1
            return
        relational = [learner for learner in active if learner.relational and len(parts) > 1]
        for learner in relational:
            learner.forward_backward(parts, counts[learner.name])
        additive = [learner for learner in active if learner not in relational]
        for part in parts:
            outputs = {learner.name: learner.forward(part) for learner in additive}
            for learner in additive:
                peers = [outputs[peer.name].outputs for peer in additive if _are_peers(learner, peer)]
                learner.backward(outputs[learner.name], part.rows, counts[learner.name], peers)
        for learner in active:
            learner.end_step(self.step, epoch)
        self.step += 1

    def _may_train_at_once(self, active: Sequence[Trainable]) -> bool:
        are_several = 1 < len(active) <= self.at_once
        return are_several and self.augmentation is None and all(learner.is_independent for learner in active)

    def _step_of(self, learner: Trainable, parts: Sequence[MicroBatch], counts: dict[str, Counts], epoch: int) -> None:
        for part in parts:
            learner.backward(learner.forward(part), part.rows, counts[learner.name])
        learner.end_step(self.step, epoch)

    def _parts(self, batch: Tensor, epoch: int) -> list[MicroBatch]:
        """The micro-batches of a batch, on the device, augmented as in `epoch` (from 0)."""
        rows = Rows.on(self.inputs.column.device, batch)
        plan, take, parts = self.augmentation, self._ahead.take, []
        for i, part in enumerate(micro_batches(rows, self._micro_batch(batch))):
            x, rows_of_x = plan.apply(part, epoch, take) if plan else (take(part), part)
            parts.append(MicroBatch(x, rows_of_x, (self.step, i)))
        return parts

    def _end_epoch(self, epoch: int) -> None:
        rows = Rows.on(self.inputs.column.device, self.schedule.validation)
        for learner in self._active():
            points = learner.end_epoch(self.inputs, rows, epoch, self.step)
            if points:
                self.emit(MetricsEvent(points=tuple(points)))
        self._emit_points()

    def _emit_points(self) -> None:
        points = [point for learner in self.learners for point in learner.take_points()]
        if points:
            self.emit(MetricsEvent(points=tuple(points)))

    def _checkpoint_due(self, clock: "_Clock") -> bool:
        if self.checkpoint_seconds == 0.0:
            return True
        return self._writer.idle and clock.since_checkpoint() >= self._writer.interval(self.checkpoint_seconds)

    def _is_worth_saving(self, clock: "_Clock") -> bool:
        """Whether to take a checkpoint at the end, from which a job that is stopped during evaluation or export
        resumes. The results of named runs are saved by the runner instead.
        """
        if self.name or self.step == self._saved_step:
            return False
        return clock.since_checkpoint() >= self._writer.interval(min(self.checkpoint_seconds, _WORTH_SECONDS))

    def save(self, clock: "_Clock") -> None:
        """Start writing a checkpoint. Raises UserError `diverged` if weights or optimizer state are not finite."""
        device = self.inputs.column.device
        if device.type == "cuda":  # queued kernels belong to training, not to the cost of the checkpoint
            torch.cuda.synchronize(device)
        began = time.monotonic()
        self._emit_points()
        self._raise_if_not_finite()
        tensors: dict[str, Tensor] = {}
        states: dict[str, Any] = {}
        for learner in self.learners:
            learner_tensors, states[learner.name] = learner.save()
            tensors.update(learner_tensors)
        state = {**self.facts, "seconds": clock.total(), "learners": states}
        folder = f"{self.name}/" if self.name else ""
        self._writer.begin(self.step, self.done, folder, tensors, state, began)
        clock.checkpointed()
        self._saved_step = self.step

    def _raise_if_not_finite(self) -> None:
        """Raises UserError `diverged`: optimizer state can overflow before any loss does."""
        for learner in self.learners:
            if not learner.is_finite():
                raise UserError(
                    "diverged",
                    f"a weight or the optimizer state of the {learner.name} is not finite after step {self.step}: "
                    "lower `training.learning_rate` or set `training.clip_norm`; the newest checkpoint from before, "
                    "if there is one, is kept",
                )


def _are_peers(learner: Trainable, other: Trainable) -> bool:
    return other is not learner and learner.group is not None and learner.group == other.group


class _Clock:
    """Wall time of the loop, and the progress events that depend on it."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._earlier_attempts = loop.seconds
        self._began = self._reported = self._saved = time.monotonic()
        self._rows = 0
        self._first = True

    def total(self) -> float:
        """Seconds of training in all attempts."""
        return self._earlier_attempts + time.monotonic() - self._began

    def since_checkpoint(self) -> float:
        return time.monotonic() - self._saved

    def checkpointed(self) -> None:
        self._saved = time.monotonic()

    def input_wait(self) -> float:
        """Share of the time of this attempt in which steps waited for their rows, from 0 to 1."""
        return min(1.0, self._loop.waited / max(time.monotonic() - self._began, 1e-9))

    def report(self, rows: int = 0, *, force: bool = False) -> None:
        """Emit a progress event at the first step, then a few times a second."""
        self._rows += rows
        now = time.monotonic()
        if not (self._first or force or now - self._reported >= PROGRESS_SECONDS):
            return
        loop, schedule = self._loop, self._loop.schedule
        speed = self._rows / max(now - self._reported, 1e-9) if self._rows else None
        done, steps = loop.done, max(loop.all_steps, loop.offset + loop.members * schedule.steps)
        left = (steps - done) * schedule.training.batch_size / speed if speed else None
        loop.emit(
            ProgressEvent(
                phase="training",
                percent=100.0 * done / steps,
                epoch=min(schedule.epochs, loop.epoch + 1),
                epochs=schedule.epochs,
                step=done,
                steps=steps,
                samples_per_second=speed,
                eta_seconds=left,
                input_wait=self.input_wait(),
            )
        )
        self._reported, self._rows, self._first = now, 0, False
