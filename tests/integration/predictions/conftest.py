"""Workers with the lane `predict` over each kind of database, and an API process that asks them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.contracts.wire.predictions import Question
from app.db.engine import open_database
from app.db.ids import new_id
from app.db.rows import DEFAULT_PROJECT, FileRow, ModelRow
from app.queue.blobs import mark_stored
from app.queue.predictions.exchange import Exchange
from app.queue.predictions.records import Answered, NewPrediction
from tests.integration.worker.entries import STUDENT, STUDENT_FACTS
from tests.integration.worker.harness import Process, WorkerHarness, size_and_digest
from workers.runtime.supervisor.supervisor import Supervisor

ENTRY = "tests.integration.predictions.entries:behave"
SECONDS = 20.0


class PredictionHarness(WorkerHarness):
    """Models in the store, workers in processes of their own, and an exchange on a connection of its own."""

    def __init__(self, url: str, folder: Path, lease_seconds: float = 30.0, seconds: float = SECONDS) -> None:
        super().__init__(url, folder, lease_seconds)
        self.asking = open_database(url)
        self.exchange = Exchange(self.asking, seconds)

    async def model(self, name: str = "student", graph: bytes | None = None) -> str:
        """A ready model, with its exported graph."""
        identity = new_id("mdl")
        files = [await self._file("weights", f"weights of {name}".encode())]
        if graph is not None:
            files.append(await self._file("onnx", graph))
        async with self.database.write() as session:
            await mark_stored(session, [file.sha256 for file in files])
            session.add(
                ModelRow(
                    id=identity,
                    name=name,
                    state="ready",
                    format="safetensors",
                    manifest=STUDENT.model_copy(update={"name": name}).model_dump(mode="json"),
                    facts=STUDENT_FACTS.model_dump(mode="json"),
                    source="job",
                    files=files,
                )
            )
        return identity

    async def _file(self, role: str, content: bytes) -> FileRow:
        path = self.settings.staging_dir / new_id("mdl")
        path.write_bytes(content)
        size, sha256 = size_and_digest(path)
        await self.blobs.publish(path, sha256)
        return FileRow(name=role, role=role, bytes=size, sha256=sha256)

    def predicting(self) -> Process:
        """A worker that only predicts."""
        return self.process(0, ["predict"], ENTRY)

    def supervisor(self, **options: Any) -> Supervisor:
        """The same in this process."""
        return Supervisor(self.settings, self.database, self.store, [], ENTRY, predicts=True, **options)

    async def ask(self, model: str, *words: str) -> list[Answered]:
        """The answers to requests that are sent together; none may be left without."""
        new = [NewPrediction(DEFAULT_PROJECT, Question(model=model, format="csv"), word.encode()) for word in words]
        answers = await self.exchange.ask(new)
        assert None not in answers
        return [each for each in answers if each is not None]

    async def answered(self, model: str, word: str = "answer") -> dict[str, Any]:
        """The answer to one request, which must be one."""
        (found,) = await self.ask(model, word)
        assert found.reply.status == 200, found.reply
        document: dict[str, Any] = json.loads(found.body)
        return document

    async def close(self) -> None:
        """End everything."""
        await self.exchange.close()
        await self.asking.close()
        await super().close()


@pytest.fixture
async def harness(migrated_url: str, tmp_path: Path) -> AsyncIterator[PredictionHarness]:
    """On SQLite and on PostgreSQL."""
    harness = PredictionHarness(migrated_url, tmp_path / "data")
    yield harness
    await harness.close()


@pytest.fixture
async def small(migrated_sqlite_url: str, tmp_path: Path) -> AsyncIterator[PredictionHarness]:
    """On SQLite."""
    harness = PredictionHarness(migrated_sqlite_url, tmp_path / "data")
    yield harness
    await harness.close()
