"""Validation of a job's spec against its inputs, with all problems at once."""

from collections.abc import Mapping
from typing import TypeVar

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
from app.contracts.specs.jobs import AnyTrainingJob, ExportJob, PreflightJob, Reference, SubmittableJob
from app.contracts.states import JobState
from app.db.rows import DatasetRow, ModelRow
from app.http.errors import Invalid
from app.http.services import Caller, Services
from app.jobs import networks, repository
from app.jobs.repository import Known
from app.jobs.schemas import DryRun
from app.queue.records import UnusableInput
from app.storage.errors import StorageFull

T = TypeVar("T", bound=Answer)
_HOPELESS = (JobState.FAILED.value, JobState.CANCELLED.value, "no_student")


async def resolved(services: Services, caller: Caller, spec: SubmittableJob) -> Resolution:
    """Resolve the spec with what is known of its inputs now; networks of libraries are measured first, if a worker
    does so in time. Raises Invalid with every problem.
    """
    named = list(spec.references())
    ids = {kind: {ref.identity for ref in named if ref.kind == kind} for kind in ("dataset", "model", "job")}
    database, project_id = services.database, caller.project_id
    datasets = await repository.known_resources(database, DatasetRow, project_id, ids["dataset"])
    models = await repository.known_resources(database, ModelRow, project_id, ids["model"])
    jobs = await repository.known_jobs(database, project_id, ids["job"])
    unusable = [problem for ref in named if (problem := _unusable(ref, {**datasets, **models, **jobs}))]
    if unusable:
        raise Invalid(unusable, unusable[0].code)
    facts = {identity: _dataset_facts(known) for identity, known in datasets.items()}
    of_models = {identity: _model_facts(known) for identity, known in {**models, **jobs}.items()}
    threads = services.settings.threads
    resolution = resolve(spec, facts, of_models, threads=threads)
    if resolution.unmeasured and not resolution.problems:
        trunks = await networks.measured(services, caller, resolution.unmeasured)
        resolution = resolve(spec, facts, of_models, threads=threads, trunks=trunks)
    if resolution.problems:
        raise Invalid(resolution.problems)
    return resolution


def require_disk_space(services: Services, resolution: Resolution) -> None:
    """Raise StorageFull if checkpoints and outputs do not fit on the disk.

    Only with an embedded database, where the workers are on the same machine; other workers check their own disk.
    """
    wanted = disk_bytes(resolution.spec)
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


def _dataset_facts(known: Known) -> DatasetFacts | None:
    return _facts(DATASET_FACTS, known)


def _model_facts(known: Known) -> ModelFacts | None:
    return _facts(MODEL_FACTS, known)


def _facts(adapter: TypeAdapter[T], known: Known) -> T | None:
    return None if known.facts is None else adapter.validate_python(known.facts, strict=False, extra="ignore")


async def answered_dry(services: Services, caller: Caller, spec: SubmittableJob) -> DryRun:
    """The dry run of a job with what the project has done before on its datasets.

    Raises Invalid, and TooMany where the key has stored too much for any job.
    """
    found = dry_run(await resolved(services, caller, spec))
    async with services.database.read() as session:
        await limits.require_bytes(services, caller, session)
        datasets = {ref.dataset for ref in spec.dataset_refs()}
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
