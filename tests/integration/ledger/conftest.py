"""A migrated database of each kind, and a ledger harness on it."""

from collections.abc import AsyncIterator

import pytest

from app.db.engine import Database, open_database
from app.queue.ledger import Ledger
from tests.databases import DATABASES, migrated_database
from tests.integration.ledger.harness import LedgerHarness


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each kind in turn, with the newest schema."""
    return migrated_database(request)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url)
    yield database
    await database.close()


@pytest.fixture
def harness(database: Database) -> LedgerHarness:
    return LedgerHarness(database, Ledger(database, lease_seconds=60.0))
