"""A worker as a subprocess of `stillhouse serve`: restarted when it dies, drained at the end."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from app.settings import Settings

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_HEALTHY_SECONDS: Final = 30.0
_SPARE_SECONDS: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None)
_log = logging.getLogger("uvicorn.error")


def python_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of the worker. With `-P`, files in the working directory are no modules."""
    return [sys.executable, "-P", "-m", module, *arguments]


def worker_command(slots: int, lanes: Sequence[str]) -> list[str]:
    """The command line of a worker process."""
    return python_command("workers", "--slots", str(slots), "--lanes", ",".join(lanes))


def worker_environment(settings: Settings) -> dict[str, str]:
    """The environment in which a worker reads these settings, without any API key."""
    left_out = ("STILLHOUSE_API_KEY", "STILLHOUSE_KEY", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    values = settings.model_dump(mode="json", exclude={"api_key"})
    path = {"PYTHONPATH": found} if (found := _python_path(os.environ.get("PYTHONPATH", ""))) else {}
    return kept | path | {f"STILLHOUSE_{name.upper()}": str(value) for name, value in values.items()}


def _python_path(value: str) -> str:
    """The absolute entries of a PYTHONPATH: an empty or relative one, as in `PYTHONPATH=:/code`, is the working
    directory or below it, in spite of `-P`.
    """
    return os.pathsep.join(entry for entry in value.split(os.pathsep) if os.path.isabs(entry))  # noqa: PTH117 (text)


class WorkerProcess:
    """Keeps one worker running until it is drained."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], drain_seconds: float) -> None:
        self._command = command
        self._environment = environment
        self._drain_seconds = drain_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._stop = asyncio.Event()

    def drain(self) -> None:
        """Have it checkpoint and give its jobs back; no other is started. Safe to call from a signal handler."""
        self._stop.set()
        self._signal(signal.SIGUSR1)

    def hurry(self) -> None:
        """Have it kill its jobs, which go back to the queue, and exit."""
        self._signal(signal.SIGQUIT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def run(self) -> None:
        """Keep one alive until `drain`. The pause before a restart doubles while workers die early."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            started = loop.time()
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environment, start_new_session=True, preexec_fn=_drain_with_parent
            )
            if self._stop.is_set():
                self.drain()  # it was called while the process was being started
            status = await self._process.wait()
            if self._stop.is_set():
                return
            pause = _FIRST_PAUSE if loop.time() - started > _HEALTHY_SECONDS else min(pause * 2, _LONGEST_PAUSE)
            _log.warning("the worker exited with status %d; starting another in %.1f s", status, pause)
            await asyncio.sleep(pause)

    async def stop(self) -> None:
        """Drain it if that has not been done, and wait for its exit; SIGKILL after the drain time."""
        self.drain()
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            async with asyncio.timeout(self._drain_seconds + _SPARE_SECONDS):
                await process.wait()
        except TimeoutError:
            _log.warning("the worker did not drain in time: it is killed, and its jobs go back to the queue")
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _drain_with_parent() -> None:
    """In the worker, before it starts: the kernel sends it SIGUSR1 (drain) when this process dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
