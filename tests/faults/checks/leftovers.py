"""Files, bytes and processes that should be gone when all jobs of a data directory have ended."""

import asyncio
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from app.db.engine import Database, open_database
from app.db.rows import BlobRow
from app.storage.local import LocalStore
from app.system.retention.blobs import collect
from tests.faults.services.serve import eventually
from workers.runtime import locks
from workers.runtime.paths import Paths


def stale_beside(url: str, data: Path) -> list[str]:
    """Files and bytes that a running service has not removed after a while."""
    with suppress(AssertionError):
        eventually(lambda: not stale_files(data))
    return stale_files(data) + asyncio.run(_stale_blobs_at(url, data))


def stale_after(data: Path) -> list[str]:
    """Processes that a stopped service has left behind after a while."""
    with suppress(AssertionError):
        eventually(lambda: not processes_in(data))
    return [f"process {pid}" for pid in processes_in(data)]


async def _stale_blobs_at(url: str, data: Path) -> list[str]:
    database = open_database(url)
    try:
        return await stale_blobs(database, data)
    finally:
        await database.close()


def stale_files(data: Path) -> list[str]:
    """Folders of ended jobs, interrupted uploads, temporary files and locks of dead processes."""
    paths = Paths(data)
    found = [*_inside(paths.jobs), *_inside(data / "staging")]
    found += [*(data / "cache").rglob(".draft-*"), *(data / "cache").rglob("*.part")]
    found += [path for path in paths.owner_locks() if locks.is_free(path)]
    return [str(path.relative_to(data)) for path in found]


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


async def stale_blobs(database: Database, data: Path) -> list[str]:
    """Rows without bytes, bytes without a row, rows that were never settled.

    What was interrupted between bytes and row is collected first, without its usual grace period.
    """
    root = data / "blobs"
    await collect(database, LocalStore(root), grace=timedelta(0))
    async with database.read() as session:
        rows = {row.sha256: row for row in await session.scalars(select(BlobRow))}
    files = {"".join(path.relative_to(root).parts): path for path in root.rglob("*") if path.is_file()}
    problems = [f"blob {sha256[:12]} has no bytes" for sha256 in rows if sha256 not in files]
    problems += [f"bytes {name[:12]} have no row" for name in files if name not in rows]
    return problems + [f"blob {row.sha256[:12]} is still {row.state}" for row in rows.values() if row.state != "stored"]


def processes_in(folder: Path) -> list[int]:
    """Other processes that have a file below a folder open: every part of a service has its log there."""
    numbered = [path for path in Path("/proc").iterdir() if path.name.isdigit() and int(path.name) != os.getpid()]
    return [int(path.name) for path in numbered if _has_open(path, f"{folder}/")]


def _has_open(process: Path, start: str) -> bool:
    with suppress(OSError):
        for link in (process / "fd").iterdir():
            with suppress(OSError):
                if str(link.readlink()).startswith(start):
                    return True
    return False
