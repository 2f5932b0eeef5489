"""The API on a fresh database: SQLite, or both kinds for the main paths."""

import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import httpx
import pytest

from app.access import repository
from app.access.secrets import new_key
from app.db.migrate import upgrade
from app.main import create_app
from app.settings import Settings
from tests.integration.api.harness import ApiHarness


@cache
def _migrated() -> bytes:
    """An empty SQLite database with the newest schema: migrated once, copied for each test."""
    with tempfile.TemporaryDirectory() as folder:
        upgrade(f"sqlite:///{folder}/empty.db")
        with sqlite3.connect(f"{folder}/empty.db") as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return Path(folder, "empty.db").read_bytes()


def prepare(url: str) -> None:
    """Bring a new database to the newest schema."""
    if url.startswith("sqlite"):
        Path(url.partition("///")[2]).write_bytes(_migrated())
    else:
        upgrade(url)


@asynccontextmanager
async def opened(url: str, folder: Path, **changes: object) -> AsyncIterator[ApiHarness]:
    """A ApiHarness over this new database."""
    prepare(url)
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
        async with httpx.AsyncClient(transport=transport, base_url="http://harness", headers=headers) as http:
            yield ApiHarness(app, app.state.services, http, key)


@pytest.fixture
async def harness(sqlite_url: str, tmp_path: Path) -> AsyncIterator[ApiHarness]:
    """On SQLite."""
    async with opened(sqlite_url, tmp_path / "data") as harness:
        yield harness


@pytest.fixture
async def any_harness(database_url: str, tmp_path: Path) -> AsyncIterator[ApiHarness]:
    """On SQLite and on PostgreSQL."""
    async with opened(database_url, tmp_path / "data") as harness:
        yield harness
