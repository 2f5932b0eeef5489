"""The database that services and workers under faults use."""

import pytest

from tests.databases import WORKER_DATABASES, migrated_database


@pytest.fixture(params=WORKER_DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database with the newest schema."""
    return migrated_database(request)
