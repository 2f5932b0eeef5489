"""Inputs of jobs as local files, named by their digest."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

from app.contracts.resources.facts import FileRef
from app.contracts.wire.orders import DataFile, DatasetInput, ModelInput, PredictionsInput, digest_of_files
from app.queue.records import JobInputs
from app.storage.durable import digest_of_file
from app.storage.store import BlobStore
from workers.runtime import locks
from workers.runtime.paths import Paths


class InputCache:
    """Downloads blobs from the store, each once."""

    def __init__(self, paths: Paths, store: BlobStore) -> None:
        self._paths = paths
        self._store = store

    async def models(self, inputs: JobInputs) -> dict[str, ModelInput]:
        """The models of a job as local files, by the id in its spec."""
        local = {}
        for reference, model in inputs.models.items():
            path, file = await self._download(model.files)
            local[reference] = ModelInput(
                id=model.id, manifest=model.manifest, facts=model.facts, path=str(path), sha256=file.sha256
            )
        return local

    async def datasets(self, inputs: JobInputs) -> dict[str, DatasetInput]:
        """The datasets of a job as local files, by the id in its spec."""
        local = {}
        for reference, dataset in inputs.datasets.items():
            files, sha256 = await self._rows(dataset.files)
            local[reference] = DatasetInput(
                id=dataset.id,
                manifest=dataset.manifest,
                facts=dataset.facts,
                path=files[0].path,
                sha256=sha256,
                files=files,
            )
        return local

    async def tokenizers(self, files: Iterable[FileRef]) -> dict[str, str]:
        """Paths of the tokenizers among the files of models and datasets, by their SHA-256."""
        found = {file.sha256: file for file in files if file.role == "tokenizer"}
        return {sha256: str(await self.download(file)) for sha256, file in found.items()}

    async def predictions(self, inputs: JobInputs) -> dict[str, PredictionsInput]:
        """The predictions of a job as local files, by the id in its spec."""
        local = {}
        for reference, each in inputs.predictions.items():
            files, sha256 = await self._rows(each.files)
            local[reference] = PredictionsInput(
                id=each.id, manifest=each.manifest, path=files[0].path, sha256=sha256, files=files
            )
        return local

    async def _rows(self, files: Iterable[FileRef]) -> tuple[tuple[DataFile, ...], str]:
        """The files of rows among a dataset's, in order, as verified local files, and a SHA-256 for all of them."""
        rows = [file for file in files if file.role == "data"]
        local = tuple([DataFile(name=file.name, path=str(await self.download(file))) for file in rows])
        return local, digest_of_files([file.sha256 for file in rows])

    async def _download(self, files: Iterable[FileRef]) -> tuple[Path, FileRef]:
        """The weights among a model's files, as a verified local file."""
        file = next(each for each in files if each.role in ("weights", "onnx", "original"))
        return await self.download(file), file

    async def download(self, file: FileRef) -> Path:
        """A file of the store as a verified local file."""
        target = self._paths.inputs / file.sha256
        async with locks.holding(self._paths.input_lock(file.sha256)):
            if await asyncio.to_thread(_is_intact, target, file.sha256):
                os.utime(target)  # retention deletes the least recently used inputs first
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                await self._store.fetch(file.sha256, target)
        return target


def _is_intact(path: Path, sha256: str) -> bool:
    """Whether an input has the bytes that were downloaded: the disk may have damaged them since."""
    return path.is_file() and digest_of_file(path) == sha256
