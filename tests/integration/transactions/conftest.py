"""The API on a fresh database, as for its own tests."""

from tests.integration.api.conftest import any_harness, database_url, harness

__all__ = ["any_harness", "database_url", "harness"]
