"""One training job from order to trained members: load, teach, train. What is measured and exported comes after."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from app.contracts.base import digest_of
from app.contracts.events import ChildEvent, PhaseEvent, WarningEvent
from app.contracts.manifests import InputTransform
from app.contracts.orders import DatasetInput, Order
from app.contracts.problems import UserError
from workers.engine.balancing import make_balancer
from workers.engine.checkpoint import Checkpoint, CheckpointFolder
from workers.engine.control import Stop, check
from workers.engine.controls import ControlCache, FoundControl
from workers.engine.data.dataset import Dataset
from workers.engine.data.inputs import Inputs
from workers.engine.data.reading import read_dataset
from workers.engine.determinism import footing, make_deterministic
from workers.engine.lessons import Faculty
from workers.engine.loop import Loop, Schooling
from workers.engine.members import Member
from workers.engine.networks import Network, build, initialise
from workers.engine.recipes import Course, Spec, Taught, course_of, taught_task
from workers.engine.tasks import Task, taught_rows

Emit = Callable[[ChildEvent], None]


@dataclass
class Trained:
    """Everything that evaluation and export need."""

    order: Order
    spec: Spec
    course: Course
    dataset: Dataset
    dataset_input: DatasetInput
    faculty: Faculty
    taught: tuple[Taught, ...]
    student: Network
    student_epoch: int
    student_steps: int
    control: Network | None
    control_epoch: int
    control_steps: int
    control_cached: bool
    precision: str
    exact_accumulation: bool
    bit_exact: bool
    targets: list[dict[str, Any]]
    warnings: list[dict[str, str]]
    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def input_name(self) -> str:
        """The dataset's one input."""
        return next(iter(self.dataset.inputs))

    @property
    def transform(self) -> InputTransform:
        """What the student does to raw rows."""
        return self.dataset.transforms[self.input_name]


class Training:
    """Runs the phases loading, teaching and training of one order."""

    def __init__(self, order: Order, spec: Spec, emit: Emit, stop: Stop) -> None:
        self._order = order
        self._spec = spec
        self._stop = stop
        self._warnings: list[dict[str, str]] = []
        self._emit_event = emit
        self._device = torch.device(order.device)
        self._checkpoints = CheckpointFolder(Path(order.checkpoints_dir), order.attempt)
        self._seconds: dict[str, float] = {}

    def _emit(self, event: ChildEvent) -> None:
        if isinstance(event, WarningEvent):
            self._warnings.append({"code": event.code, "message": event.message})
        self._emit_event(event)

    def run(self) -> Trained:
        """Train. Raises UserError, and Stopped after a checkpoint."""
        order, spec = self._order, self._spec
        make_deterministic(order.threads)
        began = self._enter("loading")
        course = course_of(spec)
        dataset_input = order.datasets[spec.dataset_refs()[0].dataset]
        dataset = read_dataset(Path(dataset_input.path), dataset_input.manifest)
        began = self._enter("teaching", began)
        faculty = Faculty(order, dataset, dataset_input, self._device, lambda: check(self._stop))
        try:
            smoothing = spec.training.label_smoothing
            taught = tuple(taught_task(task, smoothing, faculty, self._emit) for task in course.tasks)
            self._enter("training", began)
            return self._train(course, dataset, dataset_input, faculty, taught)
        except BaseException:
            faculty.close()
            raise

    def _enter(self, phase: str, began: float | None = None) -> float:
        check(self._stop)
        now = time.monotonic()
        if began is not None:
            previous = {"teaching": "loading", "training": "teaching"}[phase]
            self._seconds[previous] = now - began
        self._emit(PhaseEvent.model_validate({"phase": phase}))
        return now

    def _train(
        self,
        course: Course,
        dataset: Dataset,
        dataset_input: DatasetInput,
        faculty: Faculty,
        taught: tuple[Taught, ...],
    ) -> Trained:
        schooling = self._schooling(dataset, [each.student for each in taught])
        checkpoint = self._checkpoints.load()
        controls = _Controls(self._order, self._control_facts(course, dataset_input, schooling), self._here, checkpoint)
        found = controls.found() if course.control else None
        student = self._member("student", course, [each.student for each in taught], schooling)
        members = [student]
        if course.control and found is None:
            tasks = [each.control for each in taught if each.control is not None]
            members.append(self._member("control", course, tasks, schooling))
        if checkpoint is not None and {member.name for member in members} != set(checkpoint.state["members"]):
            checkpoint = None  # The control that it went with is lost: the same bits, from the beginning.
        self._warn_of(student, schooling)
        here = self._here
        targets = [use.model_dump(mode="json") for use in faculty.uses.values()]
        keep: dict[str, Any] = {"footing": here, "targets": targets, "bit_exact": True}
        if checkpoint is not None:
            keep = self._kept(checkpoint, here)
        loop = self._loop(members, dataset, schooling, keep)
        if checkpoint is not None:
            loop.resume(checkpoint)
        loop.run()
        self._seconds["training"] = loop.seconds
        student_epoch = student.settle(_last_epoch(student, schooling))
        controls.share = keep["bit_exact"]
        control = self._settled_control(course, members, found, controls, schooling)
        micro = self._spec.training.micro_batch_size
        return Trained(
            order=self._order,
            spec=self._spec,
            course=course,
            dataset=dataset,
            dataset_input=dataset_input,
            faculty=faculty,
            taught=taught,
            student=student.network,
            student_epoch=student_epoch,
            student_steps=student.standing.steps,
            control=control[0] if control is not None else None,
            control_epoch=control[1].epoch if control is not None else 0,
            control_steps=control[1].steps if control is not None else 0,
            control_cached=found is not None,
            precision=student.precision.name,
            exact_accumulation=micro is None or not student.network.has_batch_norm,
            bit_exact=keep["bit_exact"],
            targets=keep["targets"],
            warnings=self._warnings,
            device=self._device,
            seconds=self._seconds,
        )

    def _schooling(self, dataset: Dataset, tasks: list[Task]) -> Schooling:
        rows = taught_rows(tasks, dataset.splits["train"])
        if len(rows) == 0:
            raise UserError("nothing_to_learn", "no row of the training split has a label or a teacher's output")
        validation = dataset.splits.get("validation", torch.empty(0, dtype=torch.int64))
        return Schooling(self._spec.training, rows, validation)

    def _member(self, name: str, course: Course, tasks: list[Task], schooling: Schooling) -> Member:
        """Student and control start from the same weights: both are drawn from the job's seed."""
        network = build(course.architecture)
        initialise(network, self._spec.training.seed)
        weights = [task.weight for task in tasks]
        outputs = [task.name for task in tasks]
        balancer = make_balancer(course.balancing, outputs, weights, course.relation, self._spec.training.seed)
        return Member(name, network, tasks, balancer, self._spec.training, schooling.steps, self._device)

    @property
    def _here(self) -> dict[str, Any]:
        return footing(self._device, self._order.threads)

    def _warn_of(self, student: Member, schooling: Schooling) -> None:
        smallest = min(len(schooling.rows), self._spec.training.micro_batch_size or self._spec.training.batch_size)
        if smallest == 1 and any(isinstance(module, torch.nn.BatchNorm1d) for module in student.network.modules()):
            raise UserError(
                "batch_too_small",
                "BatchNorm of an mlp takes its statistics over the rows of a batch, and there is one row: use batches "
                "and micro-batches of at least 2 rows, or `normalization: layer`",
            )
        if student.precision.warning is not None:
            self._emit(student.precision.warning)
        if self._spec.training.micro_batch_size is not None and student.network.has_batch_norm:
            message = "micro-batches meet BatchNorm, whose statistics are those of each micro-batch: not exact"
            self._emit(WarningEvent(code="inexact_accumulation", message=message))

    def _kept(self, checkpoint: Checkpoint, here: dict[str, Any]) -> dict[str, Any]:
        kept = {name: checkpoint.state[name] for name in ("footing", "targets", "bit_exact")}
        if kept["footing"] != here:
            changed = sorted(name for name in here if kept["footing"].get(name) != here[name])
            message = (
                f"the job was resumed with other {', '.join(changed)}: its student is not that of one run, bit for bit"
            )
            self._emit(WarningEvent(code="not_bit_exact", message=message))
            kept |= {"footing": here, "bit_exact": False}
        return kept

    def _loop(self, members: list[Member], dataset: Dataset, schooling: Schooling, keep: dict[str, Any]) -> Loop:
        name = next(iter(dataset.inputs))
        inputs = Inputs.prepare(dataset.inputs[name], dataset.transforms[name], self._device)
        return Loop(
            members,
            inputs,
            schooling,
            self._checkpoints,
            self._order.checkpoint_seconds,
            self._emit,
            self._stop,
            keep,
        )

    def _settled_control(
        self,
        course: Course,
        members: list[Member],
        found: FoundControl | None,
        controls: "_Controls",
        schooling: Schooling,
    ) -> tuple[Network, FoundControl] | None:
        if found is not None:
            network = build(course.architecture)
            network.load_state_dict(found.weights)
            return network.to(self._device), found
        if len(members) == 1:
            return None
        control = members[1]
        epoch = control.settle(_last_epoch(control, schooling))
        made = FoundControl(control.network.state_dict(), epoch, control.standing.steps)
        controls.keep(made)
        return control.network, made

    def _control_facts(self, course: Course, dataset: DatasetInput, schooling: Schooling) -> dict[str, Any]:
        """Everything that a control's bits depend on besides its footing, the batch stream included."""
        return {
            "architecture": course.architecture.model_dump(mode="json"),
            "training": self._spec.training.model_dump(mode="json"),
            "tasks": [[task.name, task.target, task.weight] for task in course.tasks],
            "balancing": course.balancing.model_dump(mode="json"),
            "relation": course.relation.matrix if course.relation is not None else None,
            "dataset": dataset.sha256,
            "manifest": dataset.manifest.model_dump(mode="json", exclude={"name", "metadata"}),
            "rows": digest_of(schooling.rows.tolist()),
        }


def _last_epoch(member: Member, schooling: Schooling) -> int:
    """The epoch that a member's last step was in; one that stopped early has an earlier one than the loop."""
    return -(-member.standing.steps // schooling.batches)


class _Controls:
    """The shared cache, and the job's own copy of what it found there: a resumed attempt must find it again, also
    where it goes on with other threads or versions, under which the shared cache holds other bits.
    """

    def __init__(
        self, order: Order, facts: dict[str, Any], here: dict[str, Any], checkpoint: Checkpoint | None
    ) -> None:
        self._key = digest_of({**facts, "footing": here})
        self._own_key = digest_of(facts)
        self._shared = ControlCache(Path(order.cache_dir) / "controls")
        self._own = ControlCache(Path(order.checkpoints_dir) / "controls")
        self._begun = checkpoint is not None and "control" in checkpoint.state["members"]
        self.share = True
        """Whether the bits are those of one run on one footing, as the key says."""

    def found(self) -> FoundControl | None:
        """A control trained earlier; once this job has begun to train its own, it goes on with that."""
        if self._begun:
            return None
        own = self._own.find(self._own_key)
        if own is not None:
            return own
        shared = self._shared.find(self._key)
        if shared is not None:
            self._own.keep(self._own_key, shared.weights, shared.epoch, shared.steps)
        return shared

    def keep(self, control: FoundControl) -> None:
        """Offer a control that this job trained to all jobs."""
        if self.share:
            self._shared.keep(self._key, control.weights, control.epoch, control.steps)
