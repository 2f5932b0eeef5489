"""Inputs of a job as local files, by digest; and the job's order."""

import asyncio
import json
import os
from collections.abc import Iterable
from pathlib import Path

from app.contracts.resolving.resolve import Resolution, Spec, resolve
from app.contracts.resources.facts import FileRef
from app.contracts.specs.jobs import ANY_SPEC, InspectJob
from app.contracts.wire.orders import DatasetInput, ModelInput, Order
from app.queue.records import Claim, JobInputs
from app.settings import Settings
from app.storage.durable import digest_of_file
from app.storage.store import BlobStore
from workers.runtime import locks
from workers.runtime.places import Places
from workers.runtime.slots import Slot

INSPECTION_MEMORY = 8 << 30
"""Address space of an inspection, before what its file may need; torch's libraries map about 3 GiB of it."""
_MEMORY_A_BYTE = 6


class Materialiser:
    """Fetches blobs into the worker's cache, each once, and writes orders."""

    def __init__(self, settings: Settings, store: BlobStore) -> None:
        self._settings = settings
        self._store = store
        self._places = Places(settings.data_dir)

    async def _file(self, files: Iterable[FileRef]) -> tuple[Path, FileRef]:
        """The weights or data among a resource's files, as a verified local file."""
        file = next(each for each in files if each.role in ("weights", "data", "onnx", "original"))
        target = self._places.inputs / file.sha256
        async with locks.holding(self._places.input_lock(file.sha256)):
            if await asyncio.to_thread(_is_whole, target, file.sha256):
                os.utime(target)  # used now: `keeping.inputs_beyond` starts with the others
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                await self._store.fetch(file.sha256, target)
        return target, file

    async def models(self, inputs: JobInputs) -> dict[str, ModelInput]:
        """The models of a job as local files, by the id that its spec says."""
        found = {}
        for reference, model in inputs.models.items():
            path, file = await self._file(model.files)
            found[reference] = ModelInput(
                id=model.id, manifest=model.manifest, facts=model.facts, path=str(path), sha256=file.sha256
            )
        return found

    async def datasets(self, inputs: JobInputs) -> dict[str, DatasetInput]:
        """The datasets of a job as local files, by id."""
        found = {}
        for reference, dataset in inputs.datasets.items():
            path, file = await self._file(dataset.files)
            found[reference] = DatasetInput(
                id=dataset.id, manifest=dataset.manifest, facts=dataset.facts, path=str(path), sha256=file.sha256
            )
        return found

    async def order(self, claim: Claim, spec: Spec | InspectJob, inputs: JobInputs, slot: Slot) -> Order:
        """The order of a claimed job; its inputs lie on the local disk then."""
        models, datasets = await self.models(inputs), await self.datasets(inputs)
        threads = self._settings.threads if isinstance(spec, InspectJob) else spec.training.threads
        order = Order(
            job=claim.job_id,
            attempt=claim.attempt,
            spec=spec,
            models=models,
            datasets=datasets,
            device=slot.device,
            threads=threads or self._settings.threads,
            attempt_dir=str(self._places.attempt(claim.job_id, claim.attempt)),
            checkpoints_dir=str(self._places.checkpoints(claim.job_id)),
            cache_dir=str(self._places.cache),
            cache_bytes=self._settings.cache_bytes,
            checkpoint_seconds=self._settings.checkpoint_seconds,
            lease_seconds=self._settings.lease_seconds,
        )
        return await asyncio.to_thread(_bounded, order) if isinstance(spec, InspectJob) else order


def _is_whole(path: Path, sha256: str) -> bool:
    """Whether an input is there as it was fetched: a disk may have damaged it since."""
    return path.is_file() and digest_of_file(path) == sha256


def _bounded(order: Order) -> Order:
    """An inspection's order with its bound on memory, which grows with what it inspects."""
    size = sum(path.stat().st_size for path in order.inputs())
    return order.model_copy(update={"memory_bytes": INSPECTION_MEMORY + _MEMORY_A_BYTE * size})


def resolved(claim: Claim, inputs: JobInputs, threads: int) -> Resolution | InspectJob:
    """The spec as it is trained: as the first attempt froze it, or resolved now that every input is known."""
    spec = ANY_SPEC.validate_json(claim.resolved_spec or claim.spec, extra="ignore")
    if isinstance(spec, InspectJob):
        return spec
    datasets = {reference: dataset.facts for reference, dataset in inputs.datasets.items()}
    models = {reference: model.facts for reference, model in inputs.models.items()}
    return resolve(spec, datasets, models, threads=claim.threads or threads)


def write_order(order: Order) -> Path:
    """Put an order into its attempt's folder; the folder."""
    folder = Path(order.attempt_dir)
    folder.mkdir(parents=True, exist_ok=True)
    Path(order.checkpoints_dir).mkdir(parents=True, exist_ok=True)
    (folder / "order.json").write_text(json.dumps(order.model_dump(mode="json", by_alias=True)))
    return folder
