"""The teachers of a job against the labels of the training split, before anything is trained."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.reports.preflight import TeacherCheck
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import DistillJob, MultitaskJob, TaskSpec, TeacherRef, TrainJob
from app.contracts.wire.events import WarningEvent
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics.task_metrics import task_metrics
from workers.engine.losses.teacher_mix import TeacherOutputs
from workers.engine.tasks.run_spec import RunSpec, Spec
from workers.engine.teachers.sanity_check import Score, mismatch, order_warning, score
from workers.engine.teachers.teachers import Teachers, teacher_key


def lenient(spec: Spec) -> Spec:
    """The same job, but that a teacher at chance level teaches in it too."""
    match spec:
        case TrainJob():
            return spec
        case DistillJob():
            return spec.model_copy(update={"distillation": _allowing(spec.distillation)})
        case MultitaskJob():
            return spec.model_copy(update={"tasks": tuple(_lenient_task(task) for task in spec.tasks)})
        case _:
            assert_never(spec)


def _lenient_task(task: TaskSpec) -> TaskSpec:
    if task.teachers is None:
        return task
    return task.model_copy(update={"distillation": _allowing(task.distillation or DistillationSpec())})


def _allowing(distillation: DistillationSpec) -> DistillationSpec:
    return distillation.model_copy(update={"allow_chance_teacher": True})


@dataclass
class Examination:
    """Every teacher of every task of a `run_spec`, one after the other.

    What one of them would fail the job by goes to `note`, so that the others are looked at as well. It raises what it
    does not know.
    """

    run_spec: RunSpec
    teachers: Teachers
    note: Callable[[Exception], None]
    warn: Callable[[WarningEvent], None]
    outputs: list[TeacherOutputs] = field(default_factory=list)
    """Of the teachers that could be run."""

    def run(self) -> tuple[TeacherCheck, ...]:
        """In the order of tasks and teachers."""
        return tuple(self._check(task, ref) for task in self.run_spec.tasks for ref in task.teachers or ())

    def _check(self, task: TaskSpec, ref: TeacherRef) -> TeacherCheck:
        outputs, problem = self._asked(ref)
        check = self._introduced(task, ref).model_copy(update={"problem": problem})
        if outputs is None:
            return check
        self.outputs.append(outputs)
        target = self.teachers.dataset.targets.get(task.target or task.name)
        if target is None or target.kind == "teacher":
            return check
        known = _known(outputs, target, self.teachers.dataset.splits["train"])
        found = score(outputs, target, known)
        update: dict[str, object] = {
            "rows": len(known),
            "metrics": task_metrics(outputs.at(known), outputs.spec, target, known, ranking=False),
        }
        if found is not None:
            self._judge(task, check.name, found)
            update |= {
                "accuracy": found.accuracy,
                "chance": found.chance,
                "at_chance": found.at_chance,
                "class_order": found.order,
                "accuracy_in_order": found.accuracy_in_order,
            }
        return check.model_copy(update=update)

    def _asked(self, ref: TeacherRef) -> tuple[TeacherOutputs | None, str | None]:
        """(what the teacher says about every row, why it says nothing)."""
        try:
            return self.teachers.outputs_of(ref), None
        except (UserError, RuntimeError, MemoryError) as error:
            self.note(error)
            return None, str(error)

    def _introduced(self, task: TaskSpec, ref: TeacherRef) -> TeacherCheck:
        key = teacher_key(ref)
        teacher, model = self.teachers.opened.get(key), self.teachers.order.models.get(key)
        return TeacherCheck(
            name=model.manifest.name if model is not None else key,
            task=task.name,
            model=model.id if model is not None else None,
            output=ref.output,
            weight=ref.weight,
            parameters=teacher.parameters if teacher is not None else None,
            bytes=teacher.bytes if teacher is not None else None,
        )

    def _judge(self, task: TaskSpec, name: str, found: Score) -> None:
        warning = order_warning(task.name, name, found)
        if warning is not None:
            self.warn(warning)
        allowed = task.distillation is not None and task.distillation.allow_chance_teacher
        if found.at_chance and not allowed:
            self.note(mismatch(task.name, name, found))


def _known(outputs: TeacherOutputs, target: TargetColumn, rows: Tensor) -> Tensor:
    """Those of `rows` that have a label, and of which the teacher says something."""
    return rows[target.labelled[rows] & outputs.present[rows]]
