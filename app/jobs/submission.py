"""Validation of a job's spec against its inputs, with all problems at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, TypeVar

from pydantic import TypeAdapter

from app.access import limits
from app.contracts.base import Answer
from app.contracts.layouts.summary import flops, parameter_count
from app.contracts.problems import Problem
from app.contracts.resolving.footprint import disk_bytes
from app.contracts.resolving.multitask.relations import trunks_are_open
from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.resources.facts import DATASET_FACTS, MODEL_FACTS, DatasetFacts, ModelFacts
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.families.starts import StandIn
from app.contracts.specs.jobs import JOB_SPEC, AnyTrainingJob, ExportJob, PreflightJob, Reference, SubmittableJob
from app.contracts.states import JobState
from app.db.base import json_text
from app.db.rows import DatasetRow, ModelRow
from app.http.errors import Invalid
from app.http.services import Caller, Services
from app.http.validation import parse_as
from app.jobs import networks, repository
from app.jobs.repository import Known
from app.jobs.schemas import DryRun
from app.queue.records import UnusableInput
from app.storage.errors import StorageFull

T = TypeVar("T", bound=Answer)
_HOPELESS = (JobState.FAILED.value, JobState.CANCELLED.value, "no_student")


@dataclass(frozen=True, eq=False)
class Submitted:
    """A spec, and its JSON text as it is stored."""

    spec: SubmittableJob
    text: str

    @classmethod
    def of(cls, spec: SubmittableJob) -> "Submitted":
        """The spec with its text."""
        return cls(spec, json_text(spec.model_dump(mode="json")))


def submitted(body: bytes) -> Submitted:
    """The spec in a request's body; the same object for the same bytes. Raises BadRequest or Invalid."""
    return (_once if len(body) <= _LONGEST_KEPT else _submitted)(body)


def _submitted(body: bytes) -> Submitted:
    return Submitted.of(parse_as(JOB_SPEC, body))


_once = lru_cache(maxsize=256)(_submitted)
_LONGEST_KEPT: Final = 8192


async def resolved(services: Services, caller: Caller, new: Submitted) -> "Resolved":
    """Resolve the spec with what is known of its inputs now; networks of libraries are measured first, if a worker
    does so in time. Raises Invalid with every problem.
    """
    found = _resolved(new, await _known(services, caller, new.spec), services.settings.threads)
    resolution = found.resolution
    if resolution.unmeasured and not resolution.problems:
        trunks = await networks.measured(services, caller, resolution.unmeasured)
        resolution = resolve(new.spec, found.datasets, found.models, threads=services.settings.threads, trunks=trunks)
        found = Resolved(resolution, found.datasets, found.models)
    if resolution.problems:
        raise Invalid(resolution.problems)
    return found


_AllKnown = tuple[tuple[str, Known], ...]
"""The datasets, and then the models and jobs, by their ids."""


async def _known(services: Services, caller: Caller, spec: SubmittableJob) -> _AllKnown:
    """What is known of each input now."""
    ids: dict[str, set[str]] = {"dataset": set(), "model": set(), "job": set()}
    for ref in spec.references():
        ids[ref.kind].add(ref.identity)
    database, project_id = services.database, caller.project_id
    datasets = await repository.known_resources(database, DatasetRow, project_id, ids["dataset"])
    models = await repository.known_resources(database, ModelRow, project_id, ids["model"])
    jobs = await repository.known_jobs(database, project_id, ids["job"])
    return tuple(sorted({**datasets, **models, **jobs}.items()))


@dataclass(frozen=True)
class Resolved:
    """What a spec resolves to, and what is known of its inputs: of datasets by their ids, of models by those of models
    and jobs.
    """

    resolution: Resolution
    datasets: Mapping[str, DatasetFacts | None]
    models: Mapping[str, ModelFacts | None]

    @cached_property
    def disk_bytes(self) -> int:
        """What the job writes at most."""
        return disk_bytes(self.resolution.spec)


@lru_cache(maxsize=128)
def _resolved(new: Submitted, known: _AllKnown, threads: int) -> Resolved:
    """Resolve the spec with these inputs. It depends on nothing else, so what it has found holds as long as the texts
    of the facts are the same. Raises Invalid for an input that cannot be used.
    """
    found = dict(known)
    unusable = [problem for ref in new.spec.references() if (problem := _unusable(ref, found))]
    if unusable:
        raise Invalid(unusable, unusable[0].code)
    is_dataset = {ref.identity: ref.kind == "dataset" for ref in new.spec.references()}
    datasets = {each: _facts(DATASET_FACTS, one) for each, one in known if is_dataset[each]}
    models = {each: _facts(MODEL_FACTS, one) for each, one in known if not is_dataset[each]}
    return Resolved(resolve(new.spec, datasets, models, threads=threads), datasets, models)


def require_disk_space(services: Services, found: Resolved) -> None:
    """Raise StorageFull if checkpoints and outputs do not fit on the disk.

    Only with an embedded database, where the workers are on the same machine; other workers check their own disk.
    """
    wanted = found.disk_bytes
    free = services.space.free_for_jobs()
    if services.settings.embedded and wanted > max(free, 0):
        raise StorageFull(wanted, free)


def _unusable(ref: Reference, known: Mapping[str, Known]) -> Problem | None:
    found = known.get(ref.identity)
    if found is None:
        return _problem(ref, "missing")
    if found.state == "rejected" or (ref.kind == "job" and found.state in _HOPELESS):
        return _problem(ref, found.state)
    if ref.kind == "job" and found.state == JobState.SUCCEEDED.value and found.facts is None:
        return _problem(ref, "student_deleted")
    return None


def _problem(ref: Reference, found: str) -> Problem:
    if found == "missing":
        detail = f"there is no such {ref.kind}: `GET /v1/{ref.kind}s` lists them"
        return Problem(pointer=ref.pointer, code=f"unknown_{ref.kind}", detail=detail)
    if found == "rejected":
        detail = f"the inspection refused this {ref.kind}; `GET /v1/{ref.kind}s/{ref.identity}` says why"
        return Problem(pointer=ref.pointer, code="rejected_input", detail=detail)
    if found == "no_student":
        detail = "a job of this kind never has a student: name a job that trains"
        return Problem(pointer=ref.pointer, code="no_student", detail=detail)
    if found == "student_deleted":
        detail = "the student of this job was deleted: name another job or model, or submit the job again"
        return Problem(pointer=ref.pointer, code="student_deleted", detail=detail)
    detail = f"this job is {found} and will never have a student: name another, or submit it again"
    return Problem(pointer=ref.pointer, code="failed_input", detail=detail)


def unusable(spec: SubmittableJob | ExportJob, error: UnusableInput) -> Invalid:
    """The error for an input that was deleted or rejected between the check and the transaction."""
    named = next(ref for ref in spec.references() if ref.identity == error.reference)
    problem = _problem(named, error.found)
    return Invalid([problem], problem.code)


def _facts(adapter: TypeAdapter[T], known: Known) -> T | None:
    return None if known.facts is None else adapter.validate_json(known.facts, strict=False, extra="ignore")


async def answered_dry(services: Services, caller: Caller, new: Submitted) -> DryRun:
    """The dry run of a job with what the project has done before on its datasets.

    Raises Invalid, and TooMany where the key has stored too much for any job.
    """
    found = dry_run((await resolved(services, caller, new)).resolution)
    async with services.database.read() as session:
        await limits.require_bytes(services, caller, session)
        datasets = {ref.dataset for ref in new.spec.dataset_refs()}
        return found.model_copy(update={"test_looks": await repository.looks(session, caller.project_id, datasets)})


def dry_run(resolution: Resolution) -> DryRun:
    """The resolved job without running it (for a preflight: that of its job); counts are analytic."""
    spec = resolution.spec.job if isinstance(resolution.spec, PreflightJob) else resolution.spec
    network = _known_network(spec) if isinstance(spec, AnyTrainingJob) else None
    return DryRun(
        spec=resolution.spec,
        complete=resolution.complete,
        parameters=None if network is None else parameter_count(network),
        flops=None if network is None else flops(network),
        warnings=resolution.warnings,
        chosen=dict(resolution.chosen),
    )


def _known_network(spec: AnyTrainingJob) -> Architecture | None:
    """The network to train, unless its shapes or its number of trunks are not known yet."""
    network = spec.network
    if isinstance(network, StandIn) or not network.is_described or trunks_are_open(spec):
        return None
    return network
