"""Writes to the files of a folder, by events of the kernel (inotify, by ctypes). Source: inotify(7)."""

import asyncio
import ctypes
import os
from contextlib import suppress
from pathlib import PurePath

_CLOSE_ON_EXEC, _NON_BLOCKING, _MODIFY = 0o2000000, 0o4000, 0x2
_BUFFER = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


class FolderEvents:
    """Waits until a file of a folder is written to, by any process of this host. Where the system has no such events
    (or no more of them), waiting ends with its time.
    """

    def __init__(self, folder: PurePath) -> None:
        self._written = asyncio.Event()
        start = getattr(_libc, "inotify_init1", None)
        self._descriptor = int(start(_CLOSE_ON_EXEC | _NON_BLOCKING)) if start is not None else -1
        if self._descriptor < 0:
            return
        if _libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _MODIFY) < 0:
            os.close(self._descriptor)
            self._descriptor = -1
            return
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    @property
    def has_events(self) -> bool:
        """Whether the system has events for it."""
        return self._descriptor >= 0

    def _read(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._descriptor, _BUFFER)
        self._written.set()

    async def wait(self, seconds: float) -> bool:
        """True as soon as (or if already) something was written since the last call, False after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._written.wait()
        except TimeoutError:
            return False
        self._written.clear()
        return True

    def close(self) -> None:
        """Stop listening."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
