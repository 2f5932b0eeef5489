"""Two servers on one database: revoked keys, and long polls that are woken by their own job alone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.access import repository
from app.access.known_keys import KnownKeys
from app.access.secrets import digest
from app.db.engine import Database
from app.jobs import repository as jobs_repository
from tests.databases import DATABASES, migrated_database
from tests.integration.api.conftest import opened
from tests.integration.api.harness import ApiHarness

NOTICED_SECONDS = 0.4
"""Well above the 20 ms between two looks at the database, and below the second for which a key is remembered."""


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """Of both kinds, whose signals have nothing in common."""
    return migrated_database(request)


@pytest.fixture
async def servers(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[ApiHarness, ApiHarness]]:
    """One and another."""
    async with opened(database_url, tmp_path / "one") as one, opened(database_url, tmp_path / "two") as two:
        yield one, two


async def _status(harness: ApiHarness) -> int:
    return (await harness.http.get("/v1/jobs")).status_code


async def test_a_key_that_one_server_revokes_opens_nothing_on_either(
    servers: tuple[ApiHarness, ApiHarness], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both remember the key; only a signal can end that before the test does."""
    monkeypatch.setattr("app.access.known_keys.REMEMBERED_SECONDS", 3600.0)
    one, two = servers
    two.http.headers = one.http.headers
    for each in servers:
        each.app.state.keys.forget()
        assert await _status(each) == 200
    await asyncio.sleep(0.5)  # both listen
    for each in servers:
        assert await _status(each) == 200
    async with one.services.database.write() as session:
        row = await repository.find(session, one.key)
        assert row is not None
        await repository.revoke(session, row.id)
    assert await _status(one) == 401
    await asyncio.sleep(NOTICED_SECONDS)
    assert await _status(two) == 401


async def test_a_key_revoked_during_its_lookup_is_not_remembered(
    harness: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KnownKeys(harness.services.database)
    live = repository.live

    async def revoked_meanwhile(*arguments: Any) -> object:
        found = await live(*arguments)
        if found is not None:
            async with harness.services.database.write() as session:
                await repository.revoke(session, found.id)
            await keys.live("another")
        return found

    monkeypatch.setattr(repository, "live", revoked_meanwhile)
    sha256 = digest(harness.key)
    assert await keys.live(sha256) is not None
    assert await keys.live(sha256) is None
    keys.forget()


async def test_a_woken_long_poll_reads_its_own_job_only(
    servers: tuple[ApiHarness, ApiHarness], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that end by the other server, one after the other; every poll reads its job at its start and its end."""
    one, two = servers
    spec = await one.train_spec()
    jobs = [(await one.submit(spec))["id"] for _ in range(5)]
    reads: list[str] = []
    find = jobs_repository.find

    async def counted(database: Database, project_id: str, job_id: str) -> object:
        reads.append(job_id)
        return await find(database, project_id, job_id)

    monkeypatch.setattr(jobs_repository, "find", counted)
    polls = {job: asyncio.create_task(one.get(f"/v1/jobs/{job}?wait=30")) for job in jobs}
    await asyncio.sleep(0.6)  # all wait, and the first signal of the listener is over
    reads.clear()
    for job in jobs[:3]:
        assert (await two.http.post(f"/v1/jobs/{job}/cancel")).status_code == 200
        found = await asyncio.wait_for(polls[job], 10)
        assert (found["id"], found["state"]) == (job, "cancelled")
    assert reads == jobs[:3]
    one.services.closing.set()
    assert [(await polls[job])["state"] for job in jobs[3:]] == ["queued", "queued"]
