"""The one loop: it advances learners (student, control, peers) on one stream of batches.

Everything that a step depends on is a function of the step's number and the learners' state: the order of rows of
(seed, epoch), dropout and balancing of (seed, step), the learning rate of the step. A checkpoint between two steps
therefore loses nothing, and a learner more or less changes no other.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.wire.events import MetricsEvent, ProgressEvent
from workers.engine.common.stop import Stop, Stopped
from workers.engine.data.augment.plan import AugmentationPlan
from workers.engine.data.columns import Rows
from workers.engine.data.inputs import Inputs
from workers.engine.training.batch import Counts, MicroBatch, batch_counts, micro_batches
from workers.engine.training.batches import BatchSchedule
from workers.engine.training.checkpoints.folder import Checkpoint, CheckpointFolder
from workers.engine.training.checkpoints.writer import Checkpointing
from workers.engine.training.interface import Emit, Trainable

PROGRESS_SECONDS = 0.25
_WORTH_SECONDS = 1.0
"""So much training is worth a checkpoint when it is over."""


@dataclass
class Loop:
    """Trains `learners`; `run` returns when all have finished, or raises Stopped after a checkpoint."""

    learners: Sequence[Trainable]
    inputs: Inputs
    schedule: BatchSchedule
    checkpoints: CheckpointFolder
    checkpoint_seconds: float
    """Between two checkpoints; 0 is a checkpoint before every step."""
    emit: Emit
    stop: Stop
    keep: dict[str, Any] = field(default_factory=dict)
    """Facts of the run that every checkpoint carries (the environment that it was made in)."""
    augmentation: AugmentationPlan | None = None
    """How training rows are augmented, if they are."""
    name: str = ""
    """The folder of its checkpoints below the job's, empty for the job's own."""
    offset: int = 0
    """Optimizer steps of the job's runs before this one."""
    all_steps: int = 0
    """Optimizer steps of all runs of the job."""
    step: int = 0
    seconds: float = 0.0
    """Wall time of all attempts so far."""
    _writer: Checkpointing = field(init=False, repr=False)
    _saved_step: int | None = field(default=None, init=False)
    """That of the newest checkpoint."""

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue where `checkpoint` was taken."""
        self.step = self._saved_step = checkpoint.step
        self.seconds = checkpoint.state["seconds"]
        for learner in self.learners:
            learner.load(checkpoint.tensors, checkpoint.state["learners"][learner.name])

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.step // self.schedule.batches

    def run(self) -> None:
        """Train to the end. Raises Stopped after a checkpoint, and UserError `diverged`."""
        clock, self._writer = _Clock(self), Checkpointing(self.checkpoints, self.emit)
        try:
            for batch, counts, epoch, ends_epoch in self._batches():
                self._stop_or_save(clock)
                self._one_step(batch, counts, epoch)
                clock.report(rows=len(batch))
                if ends_epoch:
                    self._end_epoch(epoch)
            clock.report(force=True)
            if self._is_worth_saving(clock):
                self.save(clock)
            else:
                self._record()
                self._expect_finite()
        finally:
            self._writer.close()
        self.seconds = clock.total()

    def _active(self) -> list[Trainable]:
        return [learner for learner in self.learners if not learner.stopped]

    def _batches(self) -> Iterator[tuple[Tensor, dict[str, Counts], int, bool]]:
        """From the current step on: (row numbers, counts by learner, epoch from 1, whether an epoch ends with it)."""
        while self.step < self.schedule.steps and self._active():
            number, first = divmod(self.step, self.schedule.batches)
            batches = self.schedule.epoch(number)
            rows = torch.cat(batches)
            counts = {each.name: batch_counts(each.tasks, each.counts(rows), batches) for each in self._active()}
            for place in range(first, len(batches)):
                ends = place + 1 == len(batches) or self.step + 1 == self.schedule.steps
                yield batches[place], {name: by_batch[place] for name, by_batch in counts.items()}, number + 1, ends
                if ends:
                    break

    def _stop_or_save(self, clock: "_Clock") -> None:
        """Before each step. Raises Stopped, after a checkpoint."""
        reason = self.stop.requested()
        if reason is not None:
            self.save(clock)
            self._writer.finish()
            raise Stopped(reason)
        self._writer.look()
        if self._checkpoint_due(clock):
            self.save(clock)

    def _one_step(self, batch: Tensor, counts: dict[str, Counts], epoch: int) -> None:
        active = self._active()
        for learner in active:
            learner.begin_step(counts[learner.name], self.step)
        parts = self._parts(batch, epoch - 1)
        for learner in active:
            learner.observe(parts, counts[learner.name], self.step, epoch)
        whole = [learner for learner in active if learner.relational and len(parts) > 1]
        for learner in whole:
            learner.learn_whole(parts, counts[learner.name])
        additive = [learner for learner in active if learner not in whole]
        for part in parts:
            outputs = {learner.name: learner.forward(part) for learner in additive}
            for learner in additive:
                peers = [outputs[peer.name].outputs for peer in additive if _are_peers(learner, peer)]
                learner.learn(outputs[learner.name], part.rows, counts[learner.name], peers)
        for learner in active:
            learner.end_step(self.step, epoch)
        self.step += 1

    def _parts(self, batch: Tensor, epoch: int) -> list[MicroBatch]:
        """The micro-batches of a batch, on the device, augmented as in `epoch` (from 0)."""
        rows = Rows.on(self.inputs.column.device, batch)
        parts = []
        for place, part in enumerate(micro_batches(rows, self.schedule.training.micro_batch_size or len(batch))):
            x, seen = self.augmentation.see(part, epoch) if self.augmentation else (self.inputs.take(part), part)
            parts.append(MicroBatch(x, seen, (self.step, place)))
        return parts

    def _end_epoch(self, epoch: int) -> None:
        rows = Rows.on(self.inputs.column.device, self.schedule.validation)
        for learner in self._active():
            points = learner.end_epoch(self.inputs, rows, epoch, self.step)
            if points:
                self.emit(MetricsEvent(points=tuple(points)))
        self._record()

    def _record(self) -> None:
        points = [point for learner in self.learners for point in learner.take_points()]
        if points:
            self.emit(MetricsEvent(points=tuple(points)))

    def _checkpoint_due(self, clock: "_Clock") -> bool:
        if self.checkpoint_seconds == 0.0:
            return True
        return self._writer.idle and clock.since_checkpoint() >= self._writer.pause(self.checkpoint_seconds)

    def _is_worth_saving(self, clock: "_Clock") -> bool:
        """Whether a job that is stopped while it evaluates or exports should not have to train this again. A named
        run is kept as a finished one instead.
        """
        if self.name or self.step == self._saved_step:
            return False
        return clock.since_checkpoint() >= self._writer.pause(min(self.checkpoint_seconds, _WORTH_SECONDS))

    def save(self, clock: "_Clock") -> None:
        """Begin a checkpoint of everything, if everything is finite. Raises UserError `diverged` where it is not."""
        device = self.inputs.column.device
        if device.type == "cuda":  # what is queued is training: a checkpoint's cost begins after it
            torch.cuda.synchronize(device)
        began = time.monotonic()
        self._record()
        self._expect_finite()
        tensors: dict[str, Tensor] = {}
        states: dict[str, Any] = {}
        for learner in self.learners:
            saved, states[learner.name] = learner.save()
            tensors.update(saved)
        state = {**self.keep, "seconds": clock.total(), "learners": states}
        folder = f"{self.name}/" if self.name else ""
        self._writer.begin(self.step, self.offset + self.step, folder, tensors, state, began)
        clock.checkpointed()
        self._saved_step = self.step

    def _expect_finite(self) -> None:
        """Optimizer state can overflow before any loss does. Raises UserError `diverged`."""
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
    """Wall time of the loop: progress at the first step and a few times a second, checkpoints when due."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._before = loop.seconds
        self._began = self._reported = self._saved = time.monotonic()
        self._rows = 0
        self._first = True

    def total(self) -> float:
        """Seconds of all attempts."""
        return self._before + time.monotonic() - self._began

    def since_checkpoint(self) -> float:
        """Seconds since the last one was taken."""
        return time.monotonic() - self._saved

    def checkpointed(self) -> None:
        """One was just taken."""
        self._saved = time.monotonic()

    def report(self, rows: int = 0, *, force: bool = False) -> None:
        """Emit progress if it is due: at the first step, then a few times a second."""
        self._rows += rows
        now = time.monotonic()
        if not (self._first or force or now - self._reported >= PROGRESS_SECONDS):
            return
        loop, schedule = self._loop, self._loop.schedule
        speed = self._rows / max(now - self._reported, 1e-9) if self._rows else None
        done, steps = loop.offset + loop.step, max(loop.all_steps, loop.offset + schedule.steps)
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
            )
        )
        self._reported, self._rows, self._first = now, 0, False
