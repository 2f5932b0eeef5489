"""How many connections fit into the descriptors of this process."""

import resource
from contextlib import suppress
from typing import Final

from app.cli.connections.pools import SPARES, Connections
from app.cli.connections.refusals import log
from app.settings import Settings

PER_CONNECTION: Final = 2
"""Descriptors of a connection: its socket, and a file that it reads or writes."""

RESERVED: Final = 72 + 2 * SPARES
"""Descriptors for the database (33 of SQLite), the listener, signals, spare connections and those being closed."""

_FEWEST: Final = 4


def count_connections(settings: Settings) -> Connections:
    """The caps of the settings, or what the limit of open files leaves. The soft limit is raised as far as needed."""
    limit = _raised(settings.connections * PER_CONNECTION + RESERVED)
    most = min(settings.connections, max(_FEWEST, (limit - RESERVED) // PER_CONNECTION))
    if most < settings.connections:
        log.warning(
            "expected room for STILLHOUSE_CONNECTIONS=%d, found a limit of %d open files: at most %d connections are "
            "open at once; raise `ulimit -n`",
            settings.connections,
            limit,
            most,
        )
    return Connections(most, max(1, int(most * settings.connection_share)))


def _raised(wanted: int) -> int:
    """The soft limit of open files, after raising it to `wanted` or as near as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if reachable > soft:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
            return reachable
    return soft
