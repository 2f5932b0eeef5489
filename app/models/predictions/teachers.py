"""The teachers of a student: which models taught which of its tasks, and with what."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.specs.jobs import ANY_SPEC, DistillJob, MultitaskJob, TeacherRef
from app.contracts.wire.predictions import TaughtOutput
from app.db.base import json_text
from app.db.rows import JobRow, ModelRow
from app.models.predictions.schemas import NotAnswered


@dataclass(frozen=True)
class TeacherOfTask:
    """One teacher of a task. `model` and `taught`: what answers; else `missing` says why nothing does."""

    task: str
    ref: TeacherRef
    model: str | None = None
    taught: TaughtOutput | None = None
    missing: NotAnswered | None = None


async def teachers_of(session: AsyncSession, student: ModelRow) -> list[TeacherOfTask]:
    """The teachers of the job that trained a model, task by task; empty where there were none."""
    job = await session.get(JobRow, student.source_job_id) if student.source_job_id is not None else None
    if job is None:
        return []
    spec = ANY_SPEC.validate_json(json_text(job.resolved_spec or job.spec), extra="ignore")
    if not isinstance(spec, DistillJob | MultitaskJob):
        return []
    augmented = spec.training.augmentations is not None
    return [await _found(session, student.project_id, task, ref, augmented=augmented) for task, ref in _refs(spec)]


def _refs(spec: DistillJob | MultitaskJob) -> Iterator[tuple[str, TeacherRef]]:
    if isinstance(spec, DistillJob):
        yield from ((spec.target or "", ref) for ref in spec.teachers or ())
        return
    for task in spec.tasks:
        yield from ((task.name, ref) for ref in task.teachers or ())


async def _found(
    session: AsyncSession, project_id: str, task: str, ref: TeacherRef, *, augmented: bool
) -> TeacherOfTask:
    if ref.stored_as is not None:
        what = f"the columns `{ref.columns}` of the dataset" if ref.columns else "predictions for rows of a dataset"
        message = f"the teacher is {what}: only rows of it have its answers"
        return TeacherOfTask(task, ref, missing=NotAnswered(code="columns_only", message=message))
    identity = ref.model
    if ref.job is not None:
        identity = await session.scalar(select(JobRow.student_id).where(JobRow.id == ref.job))
    query = select(ModelRow).where(ModelRow.id == identity, ModelRow.project_id == project_id)
    model = await session.scalar(query)
    if model is None:
        message = "the teacher was deleted: the job's predictions of its test rows still have its answers"
        return TeacherOfTask(task, ref, missing=NotAnswered(code="teacher_deleted", message=message))
    classes = None if ref.classes is None else tuple(int(place) for place in ref.classes)
    output = _output(ref, task, list((model.facts or {})["outputs"]))
    taught = TaughtOutput(task=task, output=output, classes=classes, augmented=augmented)
    return TeacherOfTask(task, ref, model.id, taught)


def _output(ref: TeacherRef, task: str, outputs: Sequence[str]) -> str:
    """The teacher's output: as named, its only one, or that of the task's name."""
    return ref.output or (outputs[0] if len(outputs) == 1 else task)
