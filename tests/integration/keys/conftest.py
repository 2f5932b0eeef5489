"""APIs with small limits, on both databases where they count rows."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.databases import DATABASES, migrated_database
from tests.integration.api.conftest import opened
from tests.integration.api.harness import ApiHarness

Opening = Callable[..., AbstractAsyncContextManager[ApiHarness]]


@pytest.fixture
def limited(migrated_sqlite_url: str, tmp_path: Path) -> Opening:
    """Opens an API on SQLite with these settings."""
    return lambda **settings: opened(migrated_sqlite_url, tmp_path / "data", **settings)


@pytest.fixture(params=DATABASES)
def any_limited(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens an API on a database of each kind in turn with these settings."""
    url = migrated_database(request)
    return lambda **settings: opened(url, tmp_path / "data", **settings)


@pytest.fixture
async def harness(migrated_sqlite_url: str, tmp_path: Path) -> AsyncIterator[ApiHarness]:
    """With the limits of the defaults, on SQLite."""
    async with opened(migrated_sqlite_url, tmp_path / "data") as harness:
        yield harness
