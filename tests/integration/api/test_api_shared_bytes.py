"""An upload of several files, of which the first are deleted with something else before the last are stored."""

import asyncio
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from itertools import count
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, update

from app.contracts.wire.orders import InspectionOutcome
from app.db.clock import utcnow
from app.db.rows import BlobRow
from app.queue import blobs
from app.queue.blobs import READERS_GRACE
from app.system.retention.blobs import collect
from tests.databases import DATABASES, migrated_database
from tests.integration.api.conftest import opened
from tests.integration.api.harness import DATASET, DATASET_FACTS, ApiHarness, npz

Part = tuple[str, tuple[str | None, bytes]]
SOON = 20.0
FIRST, SECOND = npz("x", "digit"), npz("x", "digit", "z")


@pytest.fixture(params=DATABASES)
async def both_kinds(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ApiHarness]:
    """On a database of each kind in turn."""
    async with opened(migrated_database(request), tmp_path / "data") as harness:
        yield harness


class SlowStore:
    """Waits before every second file that it stores."""

    def __init__(self, harness: ApiHarness, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        self._put, self._puts = harness.services.store.put, count()
        monkeypatch.setattr(harness.services.store, "put", self._slow)

    async def _slow(self, source: Path, sha256: str) -> None:
        if next(self._puts) % 2:
            self.reached.set()
            await asyncio.wait_for(self.go_on.wait(), SOON)
        await self._put(source, sha256)


async def both(harness: ApiHarness) -> httpx.Response:
    manifest: Part = ("manifest", (None, json.dumps(DATASET).encode()))
    files: list[Part] = [("file", ("a.npz", FIRST)), ("file", ("b.npz", SECOND))]
    return await harness.http.post("/v1/datasets", files=[manifest, *files])


async def age(harness: ApiHarness) -> None:
    """Let the time pass after which released bytes are collected."""
    async with harness.services.database.write() as session:
        released = update(BlobRow).where(BlobRow.state == "released")
        await session.execute(released.values(last_used=utcnow() - 2 * READERS_GRACE))


async def upload_between_its_files(harness: ApiHarness, store: SlowStore) -> asyncio.Task[httpx.Response]:
    """An upload whose first file is stored, and the dataset deleted that had the same bytes."""
    upload = asyncio.create_task(both(harness))
    await asyncio.wait_for(store.reached.wait(), SOON)
    (other,) = (await harness.get("/v1/datasets"))["data"]
    assert (await harness.http.delete(f"/v1/datasets/{other['id']}")).status_code == 204
    return upload


async def with_the_first(harness: ApiHarness) -> None:
    """A dataset whose file is the first of both."""
    await harness.upload("datasets", file=FIRST)
    await harness.inspect(InspectionOutcome(dataset=DATASET_FACTS))


async def test_what_an_upload_has_stored_is_kept_until_its_last_file_is_stored(
    both_kinds: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "KEPT_SECONDS", 0.02)
    await with_the_first(both_kinds)
    services, store = both_kinds.services, SlowStore(both_kinds, monkeypatch)
    upload = await upload_between_its_files(both_kinds, store)
    async with asyncio.timeout(SOON):
        while await state(both_kinds) == "released":  # noqa: ASYNC110 (another task changes it)
            await asyncio.sleep(0.01)
    await age(both_kinds)
    assert await collect(services.database, services.store) == 0
    store.go_on.set()
    answer = await upload
    assert answer.status_code == 201, answer.text
    assert [each["bytes"] for each in answer.json()["files"]] == [len(FIRST), len(SECOND)]
    assert await services.store.exists(sha256(FIRST).hexdigest())


async def test_bytes_that_are_gone_nevertheless_are_asked_for_again(
    any_harness: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_the_first(any_harness)
    services, store = any_harness.services, SlowStore(any_harness, monkeypatch)
    upload = await upload_between_its_files(any_harness, store)
    await age(any_harness)
    assert await collect(services.database, services.store) == 1
    store.go_on.set()
    answer = await upload
    assert (answer.status_code, answer.json()["code"]) == (503, "bytes_collected")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await both(any_harness)).status_code == 201


async def state(harness: ApiHarness) -> str | None:
    """That of the first file's bytes."""
    async with harness.services.database.read() as session:
        return await session.scalar(select(BlobRow.state).where(BlobRow.sha256 == sha256(FIRST).hexdigest()))
