"""The inputs of new jobs: locked, and checked that each is ready or may become ready."""

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import BindParameter, String, bindparam, select

from app.contracts.specs.jobs import WITHOUT_STUDENT
from app.contracts.states import JobState
from app.db.reads.pipeline import Call, Rows
from app.db.reads.query import Query, padded
from app.db.rows import DatasetRow, JobRow, ModelRow
from app.queue.records import UnusableInput

_HOPELESS: Final = (JobState.FAILED, JobState.CANCELLED)
Inputs = Sequence[Mapping[str, str | None]]


@dataclass(frozen=True)
class Locked:
    """What is known of the locked rows, by their ids; rows that do not exist are left out."""

    resources: Mapping[str, str]
    """The states of models and datasets."""
    jobs: Mapping[str, tuple[str, JobState, str | None]]
    """Kind, state and student of jobs."""

    def unusable(self, inputs: Inputs) -> UnusableInput | None:
        """The error of a job with these inputs: resources first, then jobs and their students."""
        awaited = _awaited(inputs)
        for place in ("model_id", "dataset_id"):
            for entry in awaited:
                identity = entry[place]
                if identity is not None and (error := self._unusable_resource(identity, identity)):
                    return error
        upstream = (entry["upstream_id"] for entry in awaited)
        return next(
            (error for job_id in upstream if job_id is not None and (error := self._unusable_job(job_id))), None
        )

    def _unusable_resource(self, identity: str, reference: str) -> UnusableInput | None:
        state = self.resources.get(identity, "missing")
        return UnusableInput(reference, state) if state in ("missing", "rejected") else None

    def _unusable_job(self, job_id: str) -> UnusableInput | None:
        """Of a job that has succeeded, the student is the input."""
        if job_id not in self.jobs:
            return UnusableInput(job_id, "missing")
        kind, state, student = self.jobs[job_id]
        if kind in WITHOUT_STUDENT:
            return UnusableInput(job_id, "no_student")
        if state is JobState.SUCCEEDED and student is None:
            return UnusableInput(job_id, "student_deleted")
        if state in _HOPELESS:
            return UnusableInput(job_id, state.value)
        return None if student is None else self._unusable_resource(student, job_id)


def lock_inputs(
    project_id: str, of_jobs: Iterable[Inputs], before: Sequence[Call] = ()
) -> Generator[Sequence[Call], list[Rows], tuple[Locked, list[Rows]]]:
    """Share-lock every input's row; with the rows of the statements `before`, which are sent with the first.

    Resources first, then jobs, in the same order as in `ends`.
    """
    awaited = [entry for inputs in of_jobs for entry in _awaited(inputs)]
    models, datasets, upstream = (_named(awaited, column) for column in ("model_id", "dataset_id", "upstream_id"))
    calls = [*_lock(ModelRow, project_id, models), *_lock(DatasetRow, project_id, datasets)]
    named = padded(upstream)
    jobs = [(_jobs(len(named)), _numbered(project_id, named))] if named else []
    found = yield [*before, *calls, *jobs]
    rows = {row[0]: row[1:] for row in (found[-1] if upstream else ())}
    resources = {row[0]: row[1] for each in found[len(before) : len(before) + len(calls)] for row in each}
    students = sorted({row[2] for row in rows.values() if row[2] is not None})
    if students:
        for each in (yield _lock(ModelRow, project_id, students)):
            resources |= {row[0]: row[1] for row in each}
    return Locked(resources, rows), found[: len(before)]


def _awaited(inputs: Inputs) -> list[Mapping[str, str | None]]:
    return [entry for entry in inputs if entry["role"] != "subject"]


def _named(inputs: Inputs, column: str) -> list[str]:
    return sorted({named for entry in inputs if (named := entry[column]) is not None})


def _lock(resource: type[ModelRow] | type[DatasetRow], project_id: str, ids: Collection[str]) -> list[Call]:
    given = padded(ids)
    return [(_resources(resource, len(given)), _numbered(project_id, given))] if given else []


def _numbered(project_id: str, ids: Collection[str]) -> dict[str, str]:
    return {"project_id": project_id, **{f"id_{place}": identity for place, identity in enumerate(ids)}}


def _parameters(count: int) -> list[BindParameter[str]]:
    return [bindparam(f"id_{place}", type_=String()) for place in range(count)]


@lru_cache(maxsize=64)
def _resources(resource: type[ModelRow] | type[DatasetRow], count: int) -> Query[tuple[Any, ...]]:
    query = select(resource.id, resource.state).where(resource.id.in_(_parameters(count)))
    query = query.where(resource.project_id == bindparam("project_id"))
    return Query(tuple, query.order_by(resource.id).with_for_update(read=True))


@lru_cache(maxsize=64)
def _jobs(count: int) -> Query[tuple[Any, ...]]:
    query = select(JobRow.id, JobRow.kind, JobRow.state, JobRow.student_id).where(JobRow.id.in_(_parameters(count)))
    query = query.where(JobRow.project_id == bindparam("project_id"), JobRow.kind != "inspect")
    return Query(tuple, query.order_by(JobRow.id).with_for_update(read=True))
