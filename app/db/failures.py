"""What a driver's error means: the database is not available, or its disk is full."""

import os
import sqlite3
from pathlib import Path
from typing import Final

import psycopg
from sqlalchemy import URL

from app.db.errors import DatabaseFull, DatabaseUnavailable

LEAST_FREE: Final = 1 << 20
"""Bytes of disk below which a change of an SQLite database may fail: its log grows by some pages with a commit."""
_WITHOUT_ROOM: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
"""What SQLite says besides SQLITE_FULL where its log or its shared memory cannot grow."""


def unavailable(error: BaseException | None, url: URL) -> DatabaseUnavailable:
    """The error of a failed call, by the driver's own: its first line, without the statement and its values."""
    reason = str(error).partition("\n")[0] or type(error).__name__
    return DatabaseFull(disk_of(url), reason) if _is_full(error, url) else DatabaseUnavailable(reason)


def disk_of(url: URL) -> str:
    """Where the database is kept: a file, or a server."""
    return str(url.database) if _is_file(url) else f"server {url.host or 'localhost'}"


def has_room(url: URL) -> bool:
    """Whether the disk of an SQLite database has room for a change. Of a server it is not known: True."""
    if not _is_file(url):
        return True
    disk = os.statvfs(Path(url.database or "").parent)
    blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    return blocks * disk.f_frsize >= LEAST_FREE


def _is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _is_full(error: BaseException | None, url: URL) -> bool:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code == sqlite3.SQLITE_FULL or (code in _WITHOUT_ROOM and _is_known_full(url))
    return isinstance(error, psycopg.errors.DiskFull)


def _is_known_full(url: URL) -> bool:
    try:
        return not has_room(url)
    except OSError:  # its folder is gone
        return False
