"""The API on a fresh database: SQLite, or both kinds for the main paths."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app.access import repository
from app.access.secrets import new_key
from app.main import create_app
from app.settings import Settings
from tests.databases import DATABASES, migrated_database
from tests.exhaustive import sample
from tests.integration.api.harness import ApiHarness


@asynccontextmanager
async def opened(url: str, folder: Path, **changes: object) -> AsyncIterator[ApiHarness]:
    """An ApiHarness over this migrated database."""
    settings = Settings.model_validate(
        {"data_dir": folder, "database_url": url, "lease_seconds": 30.0, "threads": 1, "spare_disk_bytes": 0} | changes
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        key = new_key()
        async with app.state.services.database.write() as session:
            await repository.add(session, key, "test")
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as http:
            yield ApiHarness(app, app.state.services, http, key)


@pytest.fixture
async def harness(migrated_sqlite_url: str, tmp_path: Path) -> AsyncIterator[ApiHarness]:
    """On SQLite."""
    async with opened(migrated_sqlite_url, tmp_path / "data") as harness:
        yield harness


@pytest.fixture(params=sample(DATABASES, keep=("postgresql",)))
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database with the newest schema; most tests here are on SQLite."""
    return migrated_database(request)


@pytest.fixture
async def any_harness(database_url: str, tmp_path: Path) -> AsyncIterator[ApiHarness]:
    """On PostgreSQL, and with all combinations on SQLite."""
    async with opened(database_url, tmp_path / "data") as harness:
        yield harness
