"""Lock files (flock). The kernel releases a lock when the last process that holds it is dead, and not before."""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_POLL_SECONDS = 0.02


def take(path: Path) -> int | None:
    """An open descriptor that holds the lock, or None if another process holds it.

    The descriptor may be passed to another process: the lock is free once all its copies are closed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_free(path: Path) -> bool:
    """Whether a lock file exists and no process holds it."""
    if not path.exists():
        return False
    descriptor = take(path)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def own(path: Path) -> int:
    """`take` for a lock file with a unique name, which other processes may be testing or removing right now."""
    while True:
        descriptor = take(path)
        if descriptor is None:
            time.sleep(_POLL_SECONDS)
        elif _is_open_at(descriptor, path):
            return descriptor
        else:
            os.close(descriptor)


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def remove_free(path: Path) -> None:
    """Remove a lock file if no process holds it. `own` notices if that happens while it takes the lock."""
    descriptor = take(path)
    if descriptor is not None:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@asynccontextmanager
async def holding(path: Path) -> AsyncIterator[None]:
    """Hold the lock during the block; waits for it."""
    while (descriptor := take(path)) is None:  # noqa: ASYNC110 (other processes hold it)
        await asyncio.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        os.close(descriptor)
