"""Checks the teachers of a job against the labels of the training split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from app.contracts.problems import UserError
from app.contracts.reports.preflight import TeacherCheck
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import AnyTrainingJob, DistillJob, MultitaskJob, TaskSpec, TeacherRef, TrainJob
from app.contracts.wire.events import WarningEvent
from workers.engine.evaluation.metrics.task_metrics import task_metrics
from workers.engine.losses.teacher_mix import TeacherOutputs
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.teachers.assessment import Assessment, assess
from workers.engine.teachers.teachers import Teachers, teacher_key


def allow_chance_teachers(spec: AnyTrainingJob) -> AnyTrainingJob:
    """The spec with `allow_chance_teacher` set for every task."""
    match spec:
        case TrainJob():
            return spec
        case DistillJob():
            return spec.model_copy(update={"distillation": _allow(spec.distillation)})
        case MultitaskJob():
            return spec.model_copy(update={"tasks": tuple(_allow_in_task(task) for task in spec.tasks)})
        case _:
            assert_never(spec)


def _allow_in_task(task: TaskSpec) -> TaskSpec:
    if task.teachers is None:
        return task
    return task.model_copy(update={"distillation": _allow(task.distillation or DistillationSpec())})


def _allow(distillation: DistillationSpec) -> DistillationSpec:
    return distillation.model_copy(update={"allow_chance_teacher": True})


@dataclass
class TeacherChecks:
    """Checks of every teacher of every task of a run.

    Errors by which the job would fail are passed to `record_failure`, which raises other errors, so that the remaining
    teachers are checked as well.
    """

    run_spec: RunSpec
    teachers: Teachers
    record_failure: Callable[[Exception], None]
    warn: Callable[[WarningEvent], None]
    outputs: list[TeacherOutputs] = field(default_factory=list)
    """Outputs of the teachers that could be run."""

    def run(self) -> tuple[TeacherCheck, ...]:
        """The checks in the order of tasks and teachers."""
        return tuple(self._check(task, ref) for task in self.run_spec.tasks for ref in task.teachers or ())

    def _check(self, task: TaskSpec, ref: TeacherRef) -> TeacherCheck:
        outputs, problem = self._outputs_or_problem(ref)
        check = self._describe(task, ref).model_copy(update={"problem": problem})
        if outputs is None:
            return check
        self.outputs.append(outputs)
        target = self.teachers.dataset.targets.get(task.target or task.name)
        train = self.teachers.dataset.splits["train"]
        found = assess(task.name, check.name, outputs, target, train)
        allowed = task.distillation is not None and task.distillation.allow_chance_teacher
        self._report_problems(found.allowing(allowed))
        if target is None or target.kind == "teacher":
            return check
        rows = train[target.labelled[train] & outputs.available[train]]
        result = found.score
        update: dict[str, object] = {
            "rows": len(rows),
            "metrics": task_metrics(outputs.at(rows), outputs.spec, target, rows, ranking=False),
        }
        if result is not None:
            update |= {
                "accuracy": result.accuracy,
                "chance": result.chance,
                "at_chance": result.at_chance if result.decidable else None,
                "class_order": result.order,
                "accuracy_in_order": result.accuracy_in_order,
            }
        return check.model_copy(update=update)

    def _outputs_or_problem(self, ref: TeacherRef) -> tuple[TeacherOutputs | None, str | None]:
        """(outputs, None), or (None, the error message)."""
        try:
            return self.teachers.outputs_of(ref), None
        except (UserError, RuntimeError, MemoryError) as error:
            self.record_failure(error)
            return None, str(error)

    def _describe(self, task: TaskSpec, ref: TeacherRef) -> TeacherCheck:
        key = teacher_key(ref)
        teacher, model = self.teachers.opened.get(key), self.teachers.order.models.get(key)
        use = self.teachers.uses.get(key)
        return TeacherCheck(
            name=model.manifest.name if model is not None else use.teacher if use is not None else key,
            task=task.name,
            model=model.id if model is not None else None,
            output=ref.output,
            weight=ref.weight,
            parameters=teacher.parameters if teacher is not None else None,
            bytes=teacher.bytes if teacher is not None else None,
        )

    def _report_problems(self, found: Assessment) -> None:
        for warning in found.warnings:
            self.warn(warning)
        if found.error is not None:
            self.record_failure(found.error)
