"""Children, from the supervisor's side: started by a fork server, told things by a pipe, waited for.

A fork server that dies takes its children with it (PDEATHSIG); all of them are then reported dead, and the next
request starts another server.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.contracts.orders import ControlMessage
from workers.runtime.forkserver import PACKET

DEFAULT_ENTRY = "workers.child:main"
KILLED = -signal.SIGKILL
_ALLOWED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "PYTHONPATH")
_ALLOWED_STARTS = ("CUDA_", "NVIDIA_", "OMP_", "MKL_")


def child_environment() -> dict[str, str]:
    """What a child may see of the environment: no settings, no keys, no credentials of a cloud."""
    kept = {n: v for n, v in os.environ.items() if n in _ALLOWED or n.startswith(_ALLOWED_STARTS)}
    # Libraries that start threads when they are imported would make forking unsafe.
    return kept | {"OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


class Child:
    """One running attempt. `exit` resolves to its exit status (negative: the signal that ended it)."""

    def __init__(self, control: int) -> None:
        self.pid: int | None = None
        self.exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._control = control

    def tell(self, message: ControlMessage) -> None:
        """Say something by the pipe. A child that reads no more is dead or about to be killed: no error."""
        with suppress(BlockingIOError, BrokenPipeError, OSError):
            os.write(self._control, message.model_dump_json().encode() + b"\n")

    def kill(self) -> None:
        """SIGKILL to the child's whole session."""
        if self.pid is not None and not self.exit.done():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def ended(self, status: int) -> None:
        """Once: the pipe is closed and waiters wake."""
        if not self.exit.done():
            os.close(self._control)
            self.exit.set_result(status)


class Nursery:
    """Starts children. One a supervisor; used from its event loop and its main thread only."""

    def __init__(self, entry: str = DEFAULT_ENTRY) -> None:
        self._entry = entry
        self._channel: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._children: dict[str, Child] = {}
        self._ready: asyncio.Future[int] | None = None

    @property
    def server_pid(self) -> int | None:
        """The fork server's process, if it runs."""
        return self._server.pid if self._server is not None else None

    async def warm_up(self) -> None:
        """Start the fork server if it does not run, and wait until it has imported the engine."""
        if self._channel is None:
            self._start()
        assert self._ready is not None
        await asyncio.shield(self._ready)

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "workers.runtime.forkserver", str(theirs.fileno()), str(os.getpid())]
        # Popen, not asyncio's: PDEATHSIG follows the thread that forks, which must be the main one.
        self._server = subprocess.Popen(
            [*command, self._entry], pass_fds=[theirs.fileno()], env=child_environment(), stdin=subprocess.DEVNULL
        )
        theirs.close()
        ours.setblocking(False)
        self._channel = ours
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        loop.add_reader(ours.fileno(), self._hear)

    def _hear(self) -> None:
        assert self._channel is not None
        try:
            while packet := self._channel.recv(PACKET):
                self._heard(json.loads(packet))
        except BlockingIOError:
            return
        except OSError:
            pass
        self._server_died()

    def _heard(self, words: dict[str, Any]) -> None:
        if "ready" in words and self._ready is not None and not self._ready.done():
            self._ready.set_result(words["ready"])
        elif "spawned" in words:
            child = self._children.get(words["spawned"])
            if child is not None:
                child.pid = words["pid"]
        elif "exited" in words:
            child = self._children.pop(words["exited"], None)
            if child is not None:
                child.ended(words["status"])

    def _server_died(self) -> None:
        assert self._channel is not None
        assert self._server is not None
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        self._channel.close()
        self._channel = None
        self._server.kill()
        self._server.wait()
        self._server = None
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(RuntimeError("the fork server died while it imported the engine"))
            self._ready.exception()
        children, self._children = self._children, {}
        for child in children.values():
            child.ended(KILLED)

    async def spawn(self, attempt_dir: Path, lock: int, visible: str, seconds: float) -> Child:
        """Start a child on an attempt's directory; it holds `lock` and lives `seconds` unless it is renewed.

        `lock` and the log stay the caller's to close. Raises RuntimeError where no fork server can be had.
        """
        await self.warm_up()
        assert self._channel is not None
        assert self._server is not None
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        log = os.open(attempt_dir / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        child, identity = Child(ours), uuid.uuid4().hex
        self._children[identity] = child
        request = {
            "id": identity,
            "attempt_dir": str(attempt_dir),
            "visible": visible,
            "seconds": seconds,
            "server": self._server.pid,
        }
        try:
            socket.send_fds(self._channel, [json.dumps(request).encode()], [theirs, lock, log])
        except OSError:
            self._children.pop(identity, None)
            child.ended(KILLED)
        finally:
            os.close(theirs)
            os.close(log)
        return child

    def close(self) -> None:
        """End the fork server and all children."""
        for child in list(self._children.values()):
            child.kill()
        if self._server is not None:
            self._server_died()
