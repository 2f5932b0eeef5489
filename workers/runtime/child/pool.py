"""The supervisor's side of child processes: started by a fork server, controlled by a pipe, waited for.

When the fork server dies, the kernel kills its children (PDEATHSIG). Each is reported once it is really dead, and the
next request starts another server. A server that does not reply, or does not report a dead child, is killed.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.contracts.wire.orders import NO_THREAD_CACHE, TUNABLES, ControlMessage
from workers.runtime.child.fork_server import PACKET

DEFAULT_ENTRY = "workers.child:main"
KILLED = -signal.SIGKILL
REPLY_SECONDS = 10.0
"""Time for a fork server to start a child, or to report a dead one."""
_ALLOWED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "PYTHONPATH")
_ALLOWED_PREFIXES = ("CUDA_", "NVIDIA_", "PYTORCH_", "ATEN_", "OMP_", "GOMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_")
_WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
"""How long a thread of torch spins before it sleeps (of GCC's and of Intel's OpenMP), where nothing else is set. By
default it is milliseconds: where threads share the cores with others, most time would go into waiting.
"""


class NoForkServer(Exception):
    """The fork server cannot be started, or died before it could start a child."""


def child_environment() -> dict[str, str]:
    """The environment of a child: no settings, no keys, no cloud credentials."""
    kept = {n: v for n, v in os.environ.items() if n in _ALLOWED or n.startswith(_ALLOWED_PREFIXES)}
    waiting = {} if "OMP_WAIT_POLICY" in kept else _WAITING
    fixed = {
        TUNABLES: NO_THREAD_CACHE,
        "OPENBLAS_NUM_THREADS": "1",  # forking is unsafe if a library has started threads at import
        "PYTHONUNBUFFERED": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime writes an identity into the folder of temporary files otherwise
    }
    return waiting | kept | fixed


class Child:
    """One child process. `exit` resolves to its exit status (negative: the signal that terminated it)."""

    def __init__(self, control: int | None) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int] = loop.create_future()
        self.exit: asyncio.Future[int] = loop.create_future()
        self._control = control
        self._pidfd: int | None = None
        self._kill_requested = False

    @property
    def pid(self) -> int | None:
        """Its process id, once it is started."""
        return self.started.result() if self.started.done() else None

    def send(self, message: ControlMessage) -> None:
        """Write to its control pipe. No error if it no longer reads: it is dead, or about to be killed."""
        if self._control is not None and not self.exit.done():
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(self._control, message.model_dump_json(exclude_none=True).encode() + b"\n")

    def kill(self) -> None:
        """SIGKILL, now or as soon as it is started. The rest of its session is killed when it is reaped."""
        self._kill_requested = True
        if self._pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def on_started(self, pid: int, pidfd: int) -> None:
        """The fork server has started it."""
        self._pidfd = pidfd
        self.started.set_result(pid)
        if self._kill_requested:
            self.kill()

    def on_exited(self, status: int) -> None:
        """It has exited: close the pipe and resolve `exit`, once."""
        if self.exit.done():
            return
        if self._control is not None:
            os.close(self._control)
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        self.exit.set_result(status)

    def on_server_died(self) -> None:
        """The fork server is dead, so this child is dead or dying: wait until it is."""
        if self._pidfd is None:
            self.on_exited(KILLED)
            return
        self.kill()
        asyncio.get_running_loop().add_reader(self._pidfd, self.on_exited, KILLED)


class ChildPool:
    """Starts children. Used from the event loop and main thread of a supervisor only.

    A supervisor has one for all jobs, and one for those that need an extra, whose fork server imports `modules` too.
    """

    def __init__(self, entry: str = DEFAULT_ENTRY, modules: Sequence[str] = ()) -> None:
        self.reply_seconds = REPLY_SECONDS
        self._entry = entry
        self._modules = modules
        self._channel: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._children: dict[str, Child] = {}
        self._ready: asyncio.Future[int] | None = None

    @property
    def server_pid(self) -> int | None:
        """The fork server's process id, if it runs."""
        return self._server.pid if self._server is not None else None

    async def warm_up(self) -> None:
        """Start the fork server if it does not run, and wait until it has imported the engine. Raises NoForkServer."""
        if self._channel is None:
            self._start()
        assert self._ready is not None
        await asyncio.shield(self._ready)

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # With -P, files in the working directory are no modules.
        command = [sys.executable, "-P", "-m", "workers.runtime.child.fork_server", str(theirs.fileno())]
        # Popen and not asyncio: PDEATHSIG is bound to the thread that forks, which must be the main one.
        self._server = subprocess.Popen(
            [*command, str(os.getpid()), self._entry, *self._modules],
            pass_fds=[theirs.fileno()],
            env=child_environment(),
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        ours.setblocking(False)
        self._channel = ours
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        loop.add_reader(ours.fileno(), self._receive)

    def _receive(self) -> None:
        assert self._channel is not None
        try:
            while True:
                packet, descriptors, _, _ = socket.recv_fds(self._channel, PACKET, 1, socket.MSG_CMSG_CLOEXEC)
                if not packet:
                    break
                self._on_reply(json.loads(packet), descriptors)
        except BlockingIOError:
            return
        except OSError:
            pass
        self._on_server_died()

    def _on_reply(self, reply: dict[str, Any], descriptors: Sequence[int]) -> None:
        if "ready" in reply and self._ready is not None and not self._ready.done():
            self._ready.set_result(reply["ready"])
        elif "spawned" in reply:
            child = self._children[reply["spawned"]]
            child.on_started(reply["pid"], descriptors[0])
            asyncio.get_running_loop().add_reader(descriptors[0], self._await_report, child, descriptors[0])
        elif "exited" in reply:
            self._children.pop(reply["exited"]).on_exited(reply["status"])

    def _await_report(self, child: Child, pidfd: int) -> None:
        """The child is dead; the fork server has a little time to report its exit status."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(pidfd)
        self._expect(child.exit)

    def _expect(self, reply: asyncio.Future[int]) -> None:
        """Kill the fork server if it has not replied after `reply_seconds`: it hangs or is stopped."""
        server = self._server

        def check() -> None:
            if not reply.done() and server is not None and server is self._server:
                server.kill()

        asyncio.get_running_loop().call_later(self.reply_seconds, check)

    def _on_server_died(self) -> None:
        assert self._channel is not None
        assert self._server is not None
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        self._channel.close()
        self._channel = None
        self._server.kill()
        self._server.wait()
        self._server = None
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(NoForkServer("the fork server died while it imported the engine"))
            self._ready.exception()  # marks it as retrieved, whether or not anyone waits
        children, self._children = self._children, {}
        for child in children.values():
            child.on_server_died()

    async def spawn(
        self, folder: Path, lock: int | None, visible: str, until: float, channel: socket.socket | None = None
    ) -> Child:
        """Start a child on a folder. It inherits `lock` and dies at `until` (host clock), unless that is postponed.

        Its control descriptor is the end of a pipe that `Child.send` writes to, or `channel`, whose other end the
        caller has. The caller closes its own copies of `lock` and `channel`. Raises NoForkServer.
        """
        await self.warm_up()
        if self._channel is None or self._server is None:
            raise NoForkServer("the fork server died")
        ours: int | None = None
        if channel is None:
            theirs, ours = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ours, False)
        else:
            theirs = os.dup(channel.fileno())
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        child, identity = Child(ours), uuid.uuid4().hex
        request = {
            "id": identity,
            "folder": str(folder),
            "visible": visible,
            "until": until,
            "server": self._server.pid,
        }
        try:
            socket.send_fds(
                self._channel, [json.dumps(request).encode()], [theirs, log, *([] if lock is None else [lock])]
            )
        except OSError:
            child.on_exited(KILLED)
            raise NoForkServer("the fork server died") from None
        finally:
            os.close(theirs)
            os.close(log)
        self._children[identity] = child
        self._expect(child.started)
        return child

    def close(self) -> None:
        """Kill the fork server and all children."""
        for child in list(self._children.values()):
            child.kill()
        if self._server is not None:
            self._on_server_died()
