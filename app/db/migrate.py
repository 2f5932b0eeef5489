"""Migrating a database's schema, and checking it.

Needs no alembic.ini: the migrations are next to the packages, in a checkout and in an installation. All functions
block; from an event loop call them in a thread.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.pool import NullPool

import app.db.rows  # noqa: F401  the tables register themselves
from app.db.base import Base
from app.db.failures import unavailable
from app.db.urls import parse, sync_url

SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"
_PRIVATE = 0o600
_ADVISORY_LOCK = 0x5354494C4C  # an arbitrary number


def upgrade(url: str) -> None:
    """Migrate the database at `url` to the newest schema; several processes may call it at once.

    Creates a missing SQLite file and its folder. Raises DatabaseUnavailable, UnsupportedDatabase.
    """
    with _exclusive(url), _connected(url) as connection:
        command.upgrade(_config(connection), "head")


def downgrade(url: str, revision: str = "base") -> None:
    """Downgrade the schema to `revision`. Drops tables with their rows."""
    with _exclusive(url), _connected(url) as connection:
        command.downgrade(_config(connection), revision)


def check(url: str | None = None) -> list[str]:
    """The differences between the database's schema and `app.db.rows`; empty if they match.

    Without a URL the migrations themselves are checked, on a new SQLite file.
    """
    if url is None:
        with tempfile.TemporaryDirectory() as folder:
            fresh = f"sqlite:///{folder}/check.db"
            upgrade(fresh)
            return check(fresh)
    if not _exists(url):
        return [_behind(None)]
    with _connected(url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = context.get_current_revision()
        if found != head():
            return [_behind(found)]
        return [str(difference) for difference in compare_metadata(context, Base.metadata)]


def _behind(found: str | None) -> str:
    return f"expected revision {head()}, found {found or 'an empty database'}: run `stillhouse migrate`"


def _exists(url: str) -> bool:
    """Whether there is a database: connecting would create an SQLite file."""
    dialect, parsed = parse(url)
    return dialect == "postgresql" or Path(parsed.database or "").is_file()


def head() -> str:
    """The newest revision."""
    newest = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert newest is not None
    return newest


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _ADVISORY_LOCK})
            yield connection
            connection.commit()
    except (OperationalError, InterfaceError) as error:
        raise unavailable(error.orig, sync_url(url)[1]) from error
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    dialect, parsed = sync_url(url)
    if dialect == "postgresql":
        return create_engine(parsed, poolclass=NullPool, connect_args={"connect_timeout": 5})
    engine = create_engine(parsed, poolclass=NullPool, connect_args={"isolation_level": None, "timeout": 30})

    @event.listens_for(engine, "connect")
    def durable(connection: object, record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        # DDL is part of the transaction only after an explicit BEGIN.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def _exclusive(url: str) -> Iterator[None]:
    """One process at a time, by a lock file next to the SQLite file (PostgreSQL: an advisory lock in `_connected`)."""
    dialect, parsed = parse(url)
    if dialect == "postgresql":
        yield
        return
    assert parsed.database is not None
    database = Path(parsed.database)
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(database.with_name(f"{database.name}.migrate.lock")):
        with suppress(FileExistsError):
            os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE))
        for suffix in ("", "-wal", "-shm", "-journal"):  # SQLite gives new ones the mode of the database
            _make_private(database.with_name(database.name + suffix))
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
    try:
        _make_private(path)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _make_private(path: Path) -> None:
    """Leave a file to its owner alone, if it is there and ours. It is not opened: to close it would end the locks that
    connections of this process have on it (fcntl(2)).
    """
    with suppress(FileNotFoundError, PermissionError):
        if path.stat().st_mode & 0o077:
            path.chmod(_PRIVATE)
