"""The database's clock, used for leases, and the wall clock, used for timestamps.

Leases must not depend on the wall clock of the process that checks them. PostgreSQL has one clock for all clients:
`clock_timestamp()` (`now()` is the transaction's start). SQLite has none, its 'now' is the caller's; there the clock is
CLOCK_BOOTTIME, which all processes of a host share, which counts while the host sleeps and cannot be set. It restarts
at each boot, so a lease also stores the boot id: a lease with another boot id has expired.
"""

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Double, String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def utcnow() -> datetime:
    """Wall-clock time for timestamps such as `created_at`. Never for leases."""
    return datetime.now(UTC)


class LeaseClock(FunctionElement[float]):
    """SQL: the database's clock in seconds from an arbitrary origin."""

    name = "lease_clock"
    type = Double()
    inherit_cache = True


class BootId(FunctionElement[str]):
    """SQL: the id of the clock's current run; constant on PostgreSQL, whose clock never restarts."""

    name = "boot_id"
    type = String()
    inherit_cache = True


@compiles(LeaseClock, "postgresql")
def _postgresql_clock(element: LeaseClock, compiler: SQLCompiler, **options: Any) -> str:
    return "extract(epoch FROM clock_timestamp())::double precision"


@compiles(BootId, "postgresql")
def _postgresql_boot(element: BootId, compiler: SQLCompiler, **options: Any) -> str:
    return "'postgresql'"


@compiles(LeaseClock, "sqlite")
def _sqlite_clock(element: LeaseClock, compiler: SQLCompiler, **options: Any) -> str:
    return "stillhouse_clock()"


@compiles(BootId, "sqlite")
def _sqlite_boot(element: BootId, compiler: SQLCompiler, **options: Any) -> str:
    return "stillhouse_boot()"


class _SqliteConnection(Protocol):
    def create_function(self, name: str, narg: int, func: Any, /) -> Any: ...


def register_sqlite_clock(connection: _SqliteConnection) -> None:
    """Register the two functions above with a new SQLite connection."""
    connection.create_function("stillhouse_clock", 0, _boot_seconds)
    connection.create_function("stillhouse_boot", 0, _host_boot_id)


def _boot_seconds() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def _host_boot_id() -> str:
    return _BOOT_ID.read_text().strip()
