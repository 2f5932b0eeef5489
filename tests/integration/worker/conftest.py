"""A worker harness over each kind of database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.databases import WORKER_DATABASES, migrated_database
from tests.integration.worker.harness import WorkerHarness

LEASE_SECONDS = 30.0
"""Longer than a busy machine ever stalls; tests that wait for a lease's end set their own."""


@pytest.fixture(params=WORKER_DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database with the newest schema."""
    return migrated_database(request)


@pytest.fixture
async def harness(database_url: str, tmp_path: Path) -> AsyncIterator[WorkerHarness]:
    harness = WorkerHarness(database_url, tmp_path / "data", LEASE_SECONDS)
    yield harness
    await harness.close()
