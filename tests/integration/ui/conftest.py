"""The API of the tests of the API."""

from tests.integration.api.conftest import any_harness, database_url, harness

__all__ = ["any_harness", "database_url", "harness"]
