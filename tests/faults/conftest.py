"""The database that services and workers under faults use."""

import pytest

from tests.databases import WORKER_DATABASES, fresh_database


@pytest.fixture(params=WORKER_DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, empty database."""
    return fresh_database(request)
