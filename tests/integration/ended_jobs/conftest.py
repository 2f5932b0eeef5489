"""An API on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.http.services import Services
from app.system.retention import periodic
from tests.databases import DATABASES, migrated_database
from tests.integration.api.conftest import opened
from tests.integration.api.harness import ApiHarness


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each kind in turn, with the newest schema."""
    return migrated_database(request)


@pytest.fixture(autouse=True)
def no_collecting_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The background task collects at its start, at some moment of the test: here only the test does."""

    async def nothing(services: Services) -> None:
        pass

    monkeypatch.setattr(periodic, "collect", nothing)


@pytest.fixture
async def harness(database_url: str, tmp_path: Path) -> AsyncIterator[ApiHarness]:
    async with opened(database_url, tmp_path / "data") as harness:
        yield harness
