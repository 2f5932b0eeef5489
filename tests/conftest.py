"""Real databases for the tests: a fresh SQLite file, and a fresh database on a PostgreSQL server of their own."""

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.databases import (
    DATABASES,
    fresh_database,
    fresh_postgresql,
    fresh_sqlite,
    migrated_database,
    migrated_postgresql,
    migrated_sqlite,
    running_postgresql,
)

# Workers of the suite share two cores: one thread each, unless a test sets its own.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Fork servers import entry modules of the tests, and with `python -P` not from the working directory.
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])


def pytest_configure() -> None:
    """Commands that are interrupted inherit it: a shell ignores SIGINT for what it starts in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The garbage collector need not go through what stays until the end, nor after every few hundred objects."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 10, 10)
        gc.enable()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The host (a socket's folder) of a PostgreSQL that this test process started; it ends with the tests."""
    with running_postgresql() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of a new, empty PostgreSQL database, dropped after the test."""
    with fresh_postgresql(postgresql_server) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist yet."""
    return fresh_sqlite(tmp_path)


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, empty database of each kind in turn."""
    return fresh_database(request)


@pytest.fixture
def migrated_postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of a new PostgreSQL database with the newest schema, dropped after the test."""
    with migrated_postgresql(postgresql_server) as url:
        yield url


@pytest.fixture
def migrated_sqlite_url(tmp_path: Path) -> str:
    """The URL of a new SQLite file with the newest schema."""
    return migrated_sqlite(tmp_path)


@pytest.fixture(params=DATABASES)
def migrated_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each kind in turn, with the newest schema."""
    return migrated_database(request)
