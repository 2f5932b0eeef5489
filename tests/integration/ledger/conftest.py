"""A migrated database of each kind, and a ledger harness on it."""

from collections.abc import AsyncIterator

import pytest

from app.db.engine import Database, open_database
from app.queue.ledger import Ledger
from tests.databases import migrate
from tests.integration.ledger.harness import LedgerHarness


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    migrate(database_url)
    database = open_database(database_url)
    yield database
    await database.close()


@pytest.fixture
def harness(database: Database) -> LedgerHarness:
    return LedgerHarness(database, Ledger(database, lease_seconds=60.0))
