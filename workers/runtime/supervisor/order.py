"""The order of an attempt: all inputs of its child process, as a file."""

import asyncio
import json
from pathlib import Path
from typing import assert_never

from app.contracts.resolving.footprint import footprint, footprint_of_uploads
from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.resolving.students.measured import Trunks, networks_of
from app.contracts.resources.manifests import FORMAT_EXTRAS
from app.contracts.specs.architectures import AnyNetwork, LibraryFamily
from app.contracts.specs.families.family import Extra
from app.contracts.specs.jobs import (
    ANY_SPEC,
    AnyJob,
    DistillJob,
    ExportJob,
    InspectJob,
    InternalJob,
    MultitaskJob,
    PreflightJob,
    SubmittableJob,
    TrainJob,
)
from app.contracts.wire.orders import Order
from app.queue.records import Claim, JobInputs
from app.settings import Settings
from workers.runtime.disk.inputs import InputCache
from workers.runtime.machine import machine_memory
from workers.runtime.paths import Paths
from workers.runtime.supervisor.slots import Slot


def resolve_claim(
    claim: Claim, inputs: JobInputs, threads: int, trunks: Trunks | None = None
) -> Resolution | InternalJob:
    """The spec as it is trained: as frozen by the first attempt, or resolved now that every input is known; `trunks`:
    what is known of the networks of libraries.
    """
    spec = ANY_SPEC.validate_json(claim.resolved_spec or claim.spec, extra="ignore")
    if isinstance(spec, InternalJob):
        return spec
    datasets = {reference: dataset.facts for reference, dataset in inputs.datasets.items()}
    datasets |= {reference: predictions.facts for reference, predictions in inputs.predictions.items()}
    models = {reference: model.facts for reference, model in inputs.models.items()}
    known = {**(trunks or {}), **(_frozen_trunks(spec) if claim.resolved_spec is not None else {})}
    return resolve(spec, datasets, models, threads=claim.threads or threads, trunks=known)


def _frozen_trunks(spec: SubmittableJob) -> Trunks:
    """The measurements in a spec as the first attempt froze it, by which later ones continue."""
    networks = networks_of(spec.job if isinstance(spec, PreflightJob) else spec)
    return {
        each.trunk_digest(each.input_shape): each.measured
        for each in networks
        if isinstance(each, LibraryFamily) and each.measured is not None and each.input_shape is not None
    }


def extras_of(spec: AnyJob, inputs: JobInputs) -> frozenset[Extra]:
    """The extras that a worker needs to build the networks of a job and of its inputs."""
    networks: list[AnyNetwork | None] = [
        each.facts.architecture if each.facts is not None else each.manifest.architecture
        for each in inputs.models.values()
    ]
    of_formats = {extra for each in inputs.models.values() if (extra := FORMAT_EXTRAS.get(each.manifest.format))}
    match spec:
        case InspectJob():
            networks.append(spec.network)
        case ExportJob():
            pass
        case PreflightJob():
            networks += networks_of(spec.job)
        case TrainJob() | DistillJob() | MultitaskJob():
            networks += networks_of(spec)
        case _:
            assert_never(spec)
    return frozenset(each.extra for each in networks if each is not None and each.extra is not None) | of_formats


async def build_order(
    settings: Settings, cache: InputCache, claim: Claim, spec: AnyJob, inputs: JobInputs, slot: Slot
) -> Order:
    """Download the inputs of a claimed job, and return its order."""
    paths = Paths(settings.data_dir)
    models, datasets = await cache.models(inputs), await cache.datasets(inputs)
    order = Order(
        job=claim.job_id,
        attempt=claim.attempt,
        spec=spec,
        models=models,
        datasets=datasets,
        predictions=await cache.predictions(inputs),
        tokenizers=await cache.tokenizers(inputs.files()),
        device=slot.device,
        threads=spec.threads or settings.threads,
        cores=settings.threads,
        attempt_dir=str(paths.attempt(claim.job_id, claim.attempt)),
        checkpoints_dir=str(paths.checkpoints(claim.job_id)),
        cache_dir=str(paths.cache),
        cache_bytes=settings.cache_bytes,
        checkpoint_seconds=settings.checkpoint_seconds,
        lease_seconds=settings.lease_seconds,
    )
    return await asyncio.to_thread(with_memory_limit, order, settings.memory_room)


def with_memory_limit(order: Order, room: float) -> Order:
    """An order with its memory limit, which leaves it no more than the memory of the machine. An inspection has no room
    beyond what its upload may need. On a GPU a job has no limit: CUDA reserves addresses for the memory of all devices
    and of the host.
    """
    size, most = sum(path.stat().st_size for path in order.inputs()), machine_memory()
    if isinstance(order.spec, InspectJob):
        return order.model_copy(update={"memory_bytes": footprint_of_uploads(size).limit(1.0, most)})
    if order.device != "cpu" or room == 0.0:
        return order
    datasets, models = [each.facts for each in order.datasets.values()], [each.facts for each in order.models.values()]
    estimated = footprint(order.spec, datasets, models, size, max(order.threads, order.teacher_threads))
    return order.model_copy(update={"memory_bytes": estimated.limit(room, most)})


def write_order(order: Order) -> Path:
    """Write an order into the folder of its attempt, which is returned."""
    folder = Path(order.attempt_dir)
    folder.mkdir(parents=True, exist_ok=True)
    Path(order.checkpoints_dir).mkdir(parents=True, exist_ok=True)
    (folder / "order.json").write_text(json.dumps(order.model_dump(mode="json", by_alias=True)))
    return folder
