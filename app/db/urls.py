"""Database URLs as configured, and as the drivers need them."""

from typing import Literal

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.db.errors import UnsupportedDatabase

Dialect = Literal["sqlite", "postgresql"]


def parse(url: str) -> tuple[Dialect, URL]:
    """The dialect, and the URL without a driver.

    Raises UnsupportedDatabase for anything but PostgreSQL and an SQLite file, never echoing the URL, which may
    hold a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UnsupportedDatabase(
            "expected a database URL like sqlite:////data/stillhouse.db or postgresql://user@host/name"
        ) from None
    backend = "postgresql" if parsed.drivername == "postgres" else parsed.get_backend_name()
    if backend == "postgresql":
        return "postgresql", parsed.set(drivername="postgresql")
    if backend != "sqlite":
        raise UnsupportedDatabase(f"expected sqlite or postgresql, found {backend}: Stillhouse runs on these two")
    if parsed.database in (None, "", ":memory:") or "memory" in (parsed.database or "").split("?")[0].split(":"):
        raise UnsupportedDatabase("expected an SQLite file, found a database in memory: several processes share it")
    return "sqlite", parsed.set(drivername="sqlite")


def async_url(url: str) -> tuple[Dialect, URL]:
    """For the service: aiosqlite or psycopg 3."""
    dialect, parsed = parse(url)
    return dialect, parsed.set(drivername="sqlite+aiosqlite" if dialect == "sqlite" else "postgresql+psycopg")


def sync_url(url: str) -> tuple[Dialect, URL]:
    """For migrations: the standard library's sqlite3 or psycopg 3."""
    dialect, parsed = parse(url)
    return dialect, parsed.set(drivername="sqlite+pysqlite" if dialect == "sqlite" else "postgresql+psycopg")
