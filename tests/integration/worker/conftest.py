"""A house over each kind of database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.db.migrate import upgrade
from tests.integration.worker.house import House

LEASE_SECONDS = 30.0
"""Longer than a busy machine ever stalls; tests that wait for a lease's end set their own."""


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    upgrade(database_url)
    house = House(database_url, tmp_path / "data", LEASE_SECONDS)
    yield house
    await house.close()
