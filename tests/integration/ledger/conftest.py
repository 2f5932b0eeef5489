"""A migrated database of each kind, and a world on it."""

from collections.abc import AsyncIterator

import pytest

from app.db.engine import Database, open_database
from app.db.migrate import upgrade
from app.queue.ledger import Ledger
from tests.integration.ledger.world import World


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    upgrade(database_url)
    database = open_database(database_url)
    yield database
    await database.close()


@pytest.fixture
def world(database: Database) -> World:
    return World(database, Ledger(database, lease_seconds=60.0))
