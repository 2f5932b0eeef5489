"""64 clients at once, for a few seconds: no response is a 5xx, and SQLite is never locked."""

from pathlib import Path

import pytest

from tests.exhaustive import sample
from tests.faults.load.load import LOCKED, press
from tests.faults.services.control_service import ControlledService

CLIENTS, SECONDS = 64, 3.0


@pytest.fixture(params=sample(["sqlite", "postgresql"], ["sqlite"]))
def url(request: pytest.FixtureRequest) -> str:
    """SQLite where the service puts it itself; a database of the suite's server."""
    return str(request.getfixturevalue("postgresql_url")) if request.param == "postgresql" else ""


def test_many_clients_at_once_are_all_answered(url: str, tmp_path: Path) -> None:
    with ControlledService(tmp_path / "data", url, lease_seconds=60) as service:
        load = press(service, tmp_path, CLIENTS, SECONDS)
    assert not load.broken, load.broken[:3]
    assert load.server_errors == 0
    assert LOCKED not in load.log
    assert {"submit", "poll", "stream", "download"} <= set(load.seconds)
