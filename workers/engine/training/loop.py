"""The one loop: it advances a population of members on one stream of batches.

Everything that a step depends on is a function of the step's number and the members' state: the order of rows of
(seed, epoch), dropout and balancing of (seed, step), the learning rate of the step. A checkpoint between two steps
therefore loses nothing, and a member more or less changes no other.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.specs.training import TrainingSpec
from app.contracts.wire.events import ChildEvent, MetricPoint, MetricsEvent, ProgressEvent
from workers.engine.common.stop import Stop, Stopped
from workers.engine.data.augment.plan import ViewPlan
from workers.engine.data.columns import Rows
from workers.engine.data.inputs import Inputs
from workers.engine.data.mixture import Mixture
from workers.engine.data.order import epoch_order
from workers.engine.tasks.task import Task
from workers.engine.training.batch import Answers, Counts, Part, Peers
from workers.engine.training.checkpoints.folder import Checkpoint, CheckpointFolder
from workers.engine.training.checkpoints.writer import Checkpointing

Emit = Callable[[ChildEvent], None]
PROGRESS_SECONDS = 0.25
_WORTH_SECONDS = 1.0
"""So much training is worth a checkpoint when it is over."""


@dataclass(frozen=True)
class Schooling:
    """What the loop goes through: rows of the training and validation splits (host), and how long.

    Rows of several datasets are mixed; then every batch is whole, and an epoch is the batches in which as many rows
    pass as there are (see `Mixture`).
    """

    training: TrainingSpec
    rows: Tensor
    validation: Tensor
    mixture: Mixture | None = None

    @property
    def batches(self) -> int:
        """Optimiser steps in an epoch. A last batch of one row joins the one before it: BatchNorm needs two."""
        size, rows = self.training.batch_size, len(self.rows)
        whole = -(-rows // size)
        if self.mixture is not None:
            return whole
        return whole - 1 if size > 1 and whole > 1 and rows % size == 1 else whole

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.training.steps or (self.training.epochs or 1) * self.batches

    @property
    def epochs(self) -> int:
        """Epochs begun in all."""
        return -(-self.steps // self.batches)

    def epoch(self, number: int) -> list[Tensor]:
        """The batches of epoch `number` (from 0), as row numbers."""
        size, seed = self.training.batch_size, self.training.seed
        if self.mixture is not None:
            return self.mixture.epoch(size, self.batches, seed, number)
        order = epoch_order(self.rows, seed, number)
        parts = list(torch.split(order, size))
        if len(parts) > self.batches:
            parts[-2:] = [torch.cat(parts[-2:])]
        return parts


class Trainee(Protocol):
    """Whoever goes through the loop: a member, or several that train as one vectorised step."""

    name: str
    group: str | None
    relational: bool
    tasks: tuple[Task, ...]

    @property
    def stopped(self) -> bool:
        """Whether it takes no further step."""
        ...

    def counts(self, rows: Tensor) -> list[Tensor]:
        """See `Member`."""
        ...

    def begin_step(self, counts: Counts, step: int) -> None:
        """See `Member`."""
        ...

    def observe(self, parts: Sequence[Part], counts: Counts, step: int, epoch: int) -> None:
        """See `Member`."""
        ...

    def forward(self, part: Part) -> Answers:
        """See `Member`."""
        ...

    def learn(self, answers: Answers, rows: Rows, counts: Counts, peers: Peers = ()) -> None:
        """See `Member`."""
        ...

    def learn_at_once(self, parts: Sequence[Part], counts: Counts) -> None:
        """See `Member`."""
        ...

    def end_step(self, step: int, epoch: int) -> None:
        """See `Member`."""
        ...

    def end_epoch(self, inputs: Inputs, validation: Rows, epoch: int, step: int) -> list[MetricPoint]:
        """See `Member`."""
        ...

    def take(self) -> list[MetricPoint]:
        """See `Member`."""
        ...

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Member`."""
        ...

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """See `Member`."""
        ...

    def is_finite(self) -> bool:
        """See `Member`."""
        ...


@dataclass
class Loop:
    """Trains `members`; `run` returns when all have finished, or raises Stopped after a checkpoint."""

    members: Sequence[Trainee]
    inputs: Inputs
    schooling: Schooling
    checkpoints: CheckpointFolder
    checkpoint_seconds: float
    emit: Emit
    stop: Stop
    keep: dict[str, Any] = field(default_factory=dict)
    """Facts of the job that every checkpoint carries (what it was made on, how its targets came to be)."""
    plan: ViewPlan | None = None
    """How training rows are seen; as they are where there is none."""
    stage: str = ""
    """The folder of its checkpoints below the job's, empty for the job's own."""
    offset: int = 0
    """Optimiser steps of the job's stages before this one."""
    all_steps: int = 0
    """Optimiser steps of all stages of the job."""
    step: int = 0
    seconds: float = 0.0
    """Wall time of all attempts so far."""
    _saving: Checkpointing = field(init=False, repr=False)
    _kept_step: int | None = field(default=None, init=False)
    """That of the newest checkpoint."""

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on where `checkpoint` was taken."""
        self.step = self._kept_step = checkpoint.step
        self.seconds = checkpoint.state["seconds"]
        for member in self.members:
            member.load(checkpoint.tensors, checkpoint.state["members"][member.name])

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.step // self.schooling.batches

    def run(self) -> None:
        """Train to the end. Raises Stopped, and UserError `diverged`. What is being written then is waited for."""
        clock, self._saving = _Clock(self), Checkpointing(self.checkpoints, self.emit)
        try:
            while self.step < self.schooling.steps and self._active():
                self._one_epoch(clock)
            clock.tell(force=True)
            if self._is_worth_keeping(clock):
                self.save(clock)
            else:
                self._record()
                self._expect_finite()
        finally:
            self._saving.close()
        self.seconds = clock.total()

    def _active(self) -> list[Trainee]:
        return [member for member in self.members if not member.stopped]

    def _one_epoch(self, clock: "_Clock") -> None:
        number, first = divmod(self.step, self.schooling.batches)
        batches = self.schooling.epoch(number)
        counts = {member.name: _counts(member, batches) for member in self._active()}
        for place in range(first, len(batches)):
            reason = self.stop.requested()
            if reason is not None:
                self.save(clock)
                self._saving.finish()
                raise Stopped(reason)
            self._saving.look()
            if self._checkpoint_due(clock):
                self.save(clock)
            self._one_step(batches[place], {name: by_batch[place] for name, by_batch in counts.items()}, number + 1)
            clock.tell(rows=len(batches[place]))
            if self.step == self.schooling.steps:
                break
        self._end_epoch(number + 1)

    def _one_step(self, batch: Tensor, counts: dict[str, Counts], epoch: int) -> None:
        rows = Rows.on(self.inputs.column.device, batch)
        active = self._active()
        for member in active:
            member.begin_step(counts[member.name], self.step)
        micro = _micro_batches(rows, self.schooling.training.micro_batch_size or len(batch))
        seen = [self._seen(part, epoch - 1) for part in micro]
        parts = [Part(x, part, (self.step, place)) for place, (x, part) in enumerate(seen)]
        for member in active:
            member.observe(parts, counts[member.name], self.step, epoch)
        at_once = [member for member in active if member.relational and len(parts) > 1]
        for member in at_once:
            member.learn_at_once(parts, counts[member.name])
        additive = [member for member in active if member not in at_once]
        for part in parts:
            answers = {member.name: member.forward(part) for member in additive}
            for member in additive:
                peers = [answers[peer.name].outputs for peer in additive if _are_peers(member, peer)]
                member.learn(answers[member.name], part.rows, counts[member.name], peers)
        for member in active:
            member.end_step(self.step, epoch)
        self.step += 1

    def _seen(self, rows: Rows, epoch: int) -> tuple[Tensor, Rows]:
        return (self.inputs.take(rows), rows) if self.plan is None else self.plan.see(rows, epoch)

    def _end_epoch(self, epoch: int) -> None:
        rows = Rows.on(self.inputs.column.device, self.schooling.validation)
        for member in self._active():
            points = member.end_epoch(self.inputs, rows, epoch, self.step)
            if points:
                self.emit(MetricsEvent(points=tuple(points)))
        self._record()

    def _record(self) -> None:
        points = [point for member in self.members for point in member.take()]
        if points:
            self.emit(MetricsEvent(points=tuple(points)))

    def _checkpoint_due(self, clock: "_Clock") -> bool:
        """Whether it is time; with an interval of 0 at every step, whatever it costs."""
        least = self.checkpoint_seconds
        if least == 0.0:
            return True
        return self._saving.idle and clock.since_checkpoint() >= self._saving.pause(least)

    def _is_worth_keeping(self, clock: "_Clock") -> bool:
        """Whether a job that is stopped while it evaluates or exports should not have to train this again. A named
        stage is kept as a finished one.
        """
        if self.stage or self.step == self._kept_step:
            return False
        return clock.since_checkpoint() >= self._saving.pause(min(self.checkpoint_seconds, _WORTH_SECONDS))

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
        for member in self.members:
            saved, states[member.name] = member.save()
            tensors.update(saved)
        state = {**self.keep, "seconds": clock.total(), "members": states}
        place = f"{self.stage}/" if self.stage else ""
        self._saving.begin(self.step, self.offset + self.step, place, tensors, state, began)
        clock.checkpointed()
        self._kept_step = self.step

    def _expect_finite(self) -> None:
        """What an optimiser remembers can overflow before any loss does. Raises UserError `diverged`."""
        for member in self.members:
            if not member.is_finite():
                raise UserError(
                    "diverged",
                    f"a weight of the {member.name}, or what its optimiser remembers, is not finite after step "
                    f"{self.step}: lower `training.learning_rate` or set `training.clip_norm`; the newest checkpoint "
                    "of before, if there is one, is kept",
                )


def _are_peers(member: Trainee, other: Trainee) -> bool:
    return other is not member and member.group is not None and member.group == other.group


def _micro_batches(rows: Rows, size: int) -> list[Rows]:
    """Parts of `size` rows. As with batches, a last part of one row joins the one before: BatchNorm needs two."""
    whole, rest = divmod(len(rows), size)
    if size > 1 and whole and rest == 1:
        return rows.split([size] * (whole - 1) + [size + 1])
    return rows.split(size)


def _counts(member: Trainee, batches: Sequence[Tensor]) -> list[Counts]:
    """The counted rows of each batch, task and term of an epoch, known before its first step."""
    sizes = [len(batch) for batch in batches]
    flat = [
        [int(part.sum()) for part in torch.split(counted, sizes)] for counted in member.counts(torch.cat(list(batches)))
    ]
    by_batch: list[Counts] = []
    for place in range(len(batches)):
        column = iter(flat)
        by_batch.append([[next(column)[place] for _ in task.terms] for task in member.tasks])
    return by_batch


class _Clock:
    """Wall time of the loop: progress at the first step and a few times a second, checkpoints when due."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._before = loop.seconds
        self._began = self._told = self._saved = time.monotonic()
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

    def tell(self, rows: int = 0, *, force: bool = False) -> None:
        """Emit progress if it is time: the first step at once."""
        self._rows += rows
        now = time.monotonic()
        if not (self._first or force or now - self._told >= PROGRESS_SECONDS):
            return
        loop, schooling = self._loop, self._loop.schooling
        speed = self._rows / max(now - self._told, 1e-9) if self._rows else None
        done, steps = loop.offset + loop.step, max(loop.all_steps, loop.offset + schooling.steps)
        left = (steps - done) * schooling.training.batch_size / speed if speed else None
        loop.emit(
            ProgressEvent(
                phase="training",
                percent=100.0 * done / steps,
                epoch=min(schooling.epochs, loop.epoch + 1),
                epochs=schooling.epochs,
                step=done,
                steps=steps,
                samples_per_second=speed,
                eta_seconds=left,
            )
        )
        self._told, self._rows, self._first = now, 0, False
