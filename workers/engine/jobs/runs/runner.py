"""A stage: one run of the loop, with members that train together on one stream of batches.

A plain job is one stage. A search has one for each candidate, and repeats one for each further seed; each keeps its
checkpoints in a folder of its own, and what it ended with, so that a resumed job does no stage twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.contracts.base import digest_of
from app.contracts.problems import UserError
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.training import TrainingSpec
from app.contracts.wire.events import ChildEvent, WarningEvent
from app.contracts.wire.orders import Order
from workers.engine.balancing import TowerRows, make_balancer
from workers.engine.balancing.relation.matrix import Relation
from workers.engine.common.determinism import footing
from workers.engine.common.files import read_document, write_document
from workers.engine.common.stop import Stop
from workers.engine.data.augment.plan import ViewPlan
from workers.engine.data.dataset import Dataset, Source
from workers.engine.data.inputs import Inputs
from workers.engine.data.joining import digest_facts
from workers.engine.data.mixture import Mixture
from workers.engine.jobs.runs.baseline_key import digest_of_rows, facts, rows_of
from workers.engine.jobs.runs.control_cache import ControlCache
from workers.engine.jobs.runs.out_of_memory import Shortage, is_out_of_memory
from workers.engine.jobs.runs.results import FinishedStages, Settled, StageResult
from workers.engine.losses.term import Term
from workers.engine.models import Network, build, initialise
from workers.engine.tasks.build import Course, Taught
from workers.engine.tasks.task import Task, taught_rows
from workers.engine.training.affinity import Observer
from workers.engine.training.checkpoints.folder import Checkpoint, CheckpointFolder
from workers.engine.training.learner import Member
from workers.engine.training.loop import Loop, Schooling, Trainee
from workers.engine.training.vectorised import Squad, can_train_together

PEERS = "students"


@dataclass(frozen=True)
class Stage:
    """What one run of the loop trains. `name` is empty for the job's own; `offset` counts the steps before it."""

    name: str
    course: Course
    taught: tuple[Taught, ...]
    train: Tensor
    validation: Tensor
    start: Mapping[str, Tensor] = field(default_factory=dict)
    """What the student starts from instead of random weights."""
    student: bool = True
    control: bool = False
    baseline: bool = False
    """Whether its control is a single-task model, found again by what its own bits depend on."""
    offset: int = 0
    sources: tuple[Source, ...] = field(kw_only=True)
    """The datasets that the rows are of, which its batches mix."""

    @property
    def training(self) -> TrainingSpec:
        """How its members are trained."""
        return self.course.spec.training

    @property
    def control_alone(self) -> "Stage | None":
        """The control's own stage where some of the student's rows have no label: sharing the student's batches it
        would learn from the few labels of each, and be weaker than one that goes through labelled rows alone.
        """
        if not self.control or not self.student:
            return None
        alone = replace(self, name=f"{self.name}-control" if self.name else "control", student=False)
        schooling = self.schooling()
        if len(alone.schooling().rows) == len(schooling.rows):
            return None
        training = self.training.model_copy(update={"steps": schooling.steps, "epochs": None})
        course = replace(self.course, spec=self.course.spec.model_copy(update={"training": training}))
        return replace(alone, course=course, offset=self.offset + schooling.steps)

    @property
    def runs(self) -> int:
        """Runs of the loop that student and control take: two where the control has its own."""
        return 1 if self.control_alone is None else 2

    def schooling(self) -> Schooling:
        """The rows that its members go through. Raises UserError `nothing_to_learn`."""
        tasks = [each.student for each in self.taught]
        if not self.student:
            tasks = [each.control for each in self.taught if each.control is not None]
        rows = taught_rows(tasks, self.train)
        if len(rows) == 0:
            raise UserError("nothing_to_learn", "no row of the training split has a label or a teacher's output")
        return Schooling(self.training, rows, self.validation, Mixture.of(self.sources, rows))


@dataclass(frozen=True)
class Together:
    """What stages that trained as one step came to: validation scores, and what is said of the run."""

    scores: list[float]
    seconds: float
    bit_exact: bool


@dataclass
class StageRunner:
    """Runs stages on the rows of a job, one device and set of folders."""

    order: Order
    dataset: Dataset
    device: torch.device
    emit: Callable[[ChildEvent], None]
    stop: Stop
    inputs: Inputs
    plan: ViewPlan | None = None
    steps: int = 0
    """Optimiser steps of all stages of the job."""
    _told_of_footing: bool = field(default=False, init=False)

    def run(self, stage: Stage) -> StageResult:
        """Train the members of a stage, or take what an earlier attempt ended with. Raises Stopped and UserError."""
        finished = FinishedStages(Path(self.order.checkpoints_dir) / "finished", self.device)
        if stage.name:
            found = finished.find(stage)
            if found is not None:
                return replace(found, bit_exact=found.bit_exact and self._is_here(found.footing))
        result = self._within_memory(stage)
        if stage.name:
            finished.keep(stage.name, result)
        return result

    def _within_memory(self, stage: Stage) -> StageResult:
        """Train; where memory runs out, once with smaller micro-batches, from the last checkpoint."""
        while True:
            try:
                return self._run(self.shortage.applied(stage), stage)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                said = str(error)
            self.shortage.shrink(self.shortage.applied(stage), self.inputs, said)

    @cached_property
    def shortage(self) -> Shortage:
        """What the job does, and has done, about memory that runs out."""
        return Shortage(Path(self.order.checkpoints_dir), self.emit)

    @cached_property
    def _here(self) -> dict[str, Any]:
        return footing(self.device, self.order.threads)

    def _run(self, stage: Stage, asked: Stage) -> StageResult:
        """`asked` is the stage before it was made smaller for want of memory."""
        schooling = stage.schooling()
        checkpoints = CheckpointFolder(Path(self.order.checkpoints_dir) / stage.name, self.order.attempt)
        checkpoint = checkpoints.load()
        self._tell_of_damage(checkpoints, checkpoint)
        facts, of_job = (self._control_facts(each, schooling) for each in (stage, asked))
        controls = _Controls(self.order, facts | {"footing": self._here}, of_job, checkpoint)
        cached = self._cached(stage, controls)
        members = self.members(stage, schooling, control=stage.control and cached is None)
        if checkpoint is not None and {member.name for member in members} != set(checkpoint.state["members"]):
            checkpoints.clear()  # The control that it went with is lost: the same bits, from the beginning.
            checkpoint = None
        micro = stage.training.micro_batch_size
        keep = self._kept(checkpoint, micro)
        loop = self._loop(stage, members, schooling, checkpoints, keep)
        if checkpoint is not None:
            loop.resume(checkpoint)
        if not members:
            loop.step = schooling.steps  # an earlier job took them
        loop.run()
        settled = {member.name: _settled(member, schooling) for member in members}
        if cached is not None:
            settled["control"] = cached
        elif "control" in settled and keep["bit_exact"]:
            controls.keep(settled["control"])
        precision = members[0].precision.name if members else "float32"
        return StageResult(settled, keep["bit_exact"], loop.seconds, precision, _measured(members), self._here)

    def run_together(self, name: str, stages: Sequence[Stage]) -> Together | None:
        """Stages whose students can train as one vectorised step; else None."""
        first = stages[0]
        schooling = first.schooling()
        squad = self.squad(name, stages, schooling)
        if squad is None:
            return None
        place = Path(self.order.checkpoints_dir) / "finished" / f"{name}.json"
        told = read_document(place)
        if told is None:
            checkpoints = CheckpointFolder(Path(self.order.checkpoints_dir) / name, self.order.attempt)
            checkpoint = checkpoints.load()
            self._tell_of_damage(checkpoints, checkpoint)
            keep = self._kept(checkpoint, None)
            loop = self._loop(replace(first, name=name), [squad], schooling, checkpoints, keep)
            if checkpoint is not None:
                loop.resume(checkpoint)
            if not self._has_memory_for(loop):
                return None
            scores = [best or 0.0 for best in squad.best]
            told = {"scores": scores, "seconds": loop.seconds, "footing": self._here, "bit_exact": keep["bit_exact"]}
            write_document(place, told)
        exact = told.get("bit_exact", False) and self._is_here(told["footing"])  # an older version said neither
        return Together(told["scores"], told["seconds"], exact)

    def _has_memory_for(self, loop: Loop) -> bool:
        """Run it, unless memory runs out: then its trainees train one after the other."""
        try:
            loop.run()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self.shortage.separate()
            return False
        return True

    def squad(self, name: str, stages: Sequence[Stage], schooling: Schooling) -> Squad | None:
        """The students of several stages as one, where they can train together."""
        if not self.shortage.together or self.shortage.micro_batch_size is not None:
            return None
        if len(schooling.validation) == 0 or any(len(stage.taught) > 1 or stage.course.peers for stage in stages):
            return None
        tasks = [stage.taught[0].student for stage in stages]
        networks = [self._started(stage) for stage in stages]
        if not can_train_together(tasks, networks, [stage.training for stage in stages]):
            return None
        return Squad(tasks, networks, stages[0].training, schooling.steps, self.device, prefix=f"{name}/")

    def _started(self, stage: Stage) -> Network:
        network = build(stage.course.architecture)
        initialise(network, stage.training.seed)
        network.load_state_dict({**network.state_dict(), **stage.start})
        return network

    # Who trains.

    def members(self, stage: Stage, schooling: Schooling, *, control: bool) -> list[Member]:
        """Whoever a stage trains. Student and control start from the same weights: both are drawn from the stage's
        seed. Raises UserError `batch_too_small`.
        """
        course = stage.course
        found = []
        if stage.student:
            group = PEERS if course.peers else None
            tasks = [each.student for each in stage.taught]
            student = self._member("student", course.architecture, tasks, stage, schooling, group)
            student.network.load_state_dict({**student.network.state_dict(), **stage.start})
            student.held = course.held_heads
            found.append(student)
            for i, architecture in enumerate(course.peers):
                found.append(self._peer(f"peer-{i + 1}", architecture, tasks, stage, schooling))
        if control:
            tasks = [each.control for each in stage.taught if each.control is not None]
            found.append(self._member("control", course.architecture, tasks, stage, schooling, None))
        for member in found[:1]:
            self._warn_of(member, stage, schooling)
        return found

    def _member(
        self,
        name: str,
        architecture: Architecture,
        tasks: Sequence[Task],
        stage: Stage,
        schooling: Schooling,
        group: str | None,
    ) -> Member:
        network = build(architecture)
        initialise(network, stage.training.seed)
        course, acting = stage.course, stage.course.acting
        relation = Relation(acting.matrix) if acting is not None else None
        weights = [task.weight for task in tasks]
        by_towers = relation is not None and acting is not None and acting.apply == "towers"
        rows = None if by_towers else relation
        balancer = make_balancer(course.balancing, weights, rows, stage.training.seed)
        if by_towers and relation is not None:
            balancer = TowerRows(balancer, weights, relation)
        prefix = f"{stage.name}/" if stage.name else ""
        member = Member(
            name, network, tasks, balancer, stage.training, schooling.steps, self.device, group=group, prefix=prefix
        )
        follows = acting.follows if acting is not None else None
        if len(tasks) > 1 and member.parameters.trunk and (name == "student" or follows is not None):
            live = relation if follows is not None else None
            member.observer = Observer([task.name for task in tasks], schooling.steps, follows or course.probe, live)
        return member

    def _peer(
        self, name: str, architecture: Architecture, tasks: Sequence[Task], stage: Stage, schooling: Schooling
    ) -> Member:
        """A peer has the student's tasks but for terms on layers and what is trained beside the student. It starts from
        weights of its own.
        """
        own = [replace(task, terms=tuple(term for term in task.terms if _is_common(term))) for task in tasks]
        member = self._member(name, architecture, own, stage, schooling, PEERS)
        initialise(member.network, stage.training.seed + int(name.rpartition("-")[2]))
        return member

    def _warn_of(self, member: Member, stage: Stage, schooling: Schooling) -> None:
        training = stage.training
        smallest = min(len(schooling.rows), training.micro_batch_size or training.batch_size)
        if smallest == 1 and any(isinstance(module, torch.nn.BatchNorm1d) for module in member.network.modules()):
            raise UserError(
                "batch_too_small",
                "BatchNorm of an mlp takes its statistics over the rows of a batch, and there is one row: use batches "
                "and micro-batches of at least 2 rows, or `normalization: layer`",
            )
        if stage.name:
            return
        if member.precision.warning is not None:
            self.emit(member.precision.warning)
        if training.micro_batch_size is not None and member.network.has_batch_norm:
            message = "micro-batches meet BatchNorm, whose statistics are those of each micro-batch: not exact"
            self.emit(WarningEvent(code="inexact_accumulation", message=message))

    # How it goes on.

    def _kept(self, checkpoint: Checkpoint | None, micro: int | None) -> dict[str, Any]:
        """What is written into every checkpoint besides the members."""
        kept: dict[str, Any] = {"footing": self._here, "bit_exact": True, "micro_batch_size": micro}
        if checkpoint is not None:
            before = checkpoint.state
            smaller = before.get("micro_batch_size", micro) != micro and checkpoint.step > 0
            kept["bit_exact"] = before["bit_exact"] and self._is_here(before["footing"]) and not smaller
        return kept

    def _tell_of_damage(self, folder: CheckpointFolder, found: Checkpoint | None) -> None:
        if folder.damaged:
            since = "begins anew" if found is None else f"goes on from step {found.step}"
            message = f"{folder.damaged} checkpoint(s) were damaged on the disk, and were dropped: training {since}"
            self.emit(WarningEvent(code="checkpoint_damaged", message=message))

    def _is_here(self, other: dict[str, Any]) -> bool:
        """Whether an earlier attempt stood on the same footing; if not, it is said once in an attempt."""
        changed = sorted(name for name in self._here if other.get(name) != self._here[name])
        if changed and not self._told_of_footing:
            self._told_of_footing = True
            message = (
                f"the job was resumed with other {', '.join(changed)}: its student is not that of one run, bit for bit"
            )
            self.emit(WarningEvent(code="not_bit_exact", message=message))
        return not changed

    def _loop(
        self,
        stage: Stage,
        members: Sequence[Trainee],
        schooling: Schooling,
        checkpoints: CheckpointFolder,
        keep: dict[str, Any],
    ) -> Loop:
        return Loop(
            members,
            self.inputs,
            schooling,
            checkpoints,
            self.order.checkpoint_seconds,
            self.emit,
            self.stop,
            keep,
            stage=stage.name,
            plan=self.plan,
            offset=stage.offset,
            all_steps=self.steps,
        )

    # The control, if one like it has been trained before.

    def _cached(self, stage: Stage, controls: "_Controls") -> Settled | None:
        return controls.found(stage.course.architecture, self.device) if stage.control else None

    def _control_facts(self, stage: Stage, schooling: Schooling) -> dict[str, Any]:
        """Everything that a control's bits depend on besides its footing, the batch stream included."""
        course = stage.course
        if stage.baseline:
            return facts(course, stage.taught[0].student, schooling, self.dataset, self._digest_of_inputs)
        return {
            "architecture": course.architecture.model_dump(mode="json"),
            "training": stage.training.model_dump(mode="json"),
            "smoothing": course.control_smoothing,
            "tasks": [[task.name, task.target, task.weight] for task in course.tasks],
            "balancing": course.balancing.model_dump(mode="json"),
            "relation": course.acting.facts() if course.acting is not None else None,
            **digest_facts(self.order, self.dataset),
            "rows": digest_of([schooling.rows.tolist(), schooling.validation.tolist()]),
        }

    @cached_property
    def _digest_of_inputs(self) -> str:
        return digest_of_rows(next(iter(self.dataset.inputs.values())), rows_of(self.dataset))


def _is_common(term: Term) -> bool:
    return not term.taps and term.module is None


def _measured(members: Sequence[Member]) -> dict[str, Any] | None:
    observers = [member.observer for member in members if member.name == "student" and member.observer is not None]
    return observers[0].summary() if observers else None


def _settled(member: Member, schooling: Schooling) -> Settled:
    epoch = member.settle(-(-member.standing.steps // schooling.batches))
    return Settled(member.network, epoch, member.standing.steps, member.standing.best_score)


class _Controls:
    """The shared cache, and the job's own copy of what it found there: a resumed attempt must find it again, also
    where it goes on with other threads or versions, under which the shared cache holds other bits.
    """

    def __init__(
        self, order: Order, facts: dict[str, Any], of_job: dict[str, Any], checkpoint: Checkpoint | None
    ) -> None:
        self._key = digest_of(facts)
        self._own_key = digest_of(of_job)
        self._shared = ControlCache(Path(order.cache_dir) / "controls")
        self._own = ControlCache(Path(order.checkpoints_dir) / "controls")
        self._begun = checkpoint is not None and "control" in checkpoint.state["members"]

    def found(self, architecture: Architecture, device: torch.device) -> Settled | None:
        """A control trained earlier; once this job has begun to train its own, it goes on with that."""
        if self._begun:
            return None
        own = self._own.find(self._own_key)
        if own is None:
            own = self._shared.find(self._key)
            if own is None:
                return None
            self._own.publish(self._own_key, own.weights, own.epoch, own.steps, own.score)
        network = build(architecture)
        network.load_state_dict(own.weights)
        return Settled(network.to(device), own.epoch, own.steps, own.score, cached=True)

    def keep(self, control: Settled) -> None:
        """Offer a control that this job trained to all jobs."""
        self._shared.keep(self._key, control.network.state_dict(), control.epoch, control.steps, control.score)
