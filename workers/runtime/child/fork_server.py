"""The fork server: a process that has imported the engine, and forks a child for each request.

    python -m workers.runtime.child.fork_server SOCKET PARENT MODULE:FUNCTION [MODULE …]

The modules are imported as well, before the first child.

Forking is safe because it has one thread and never runs a torch operation: the child of a process that ran one would
hang at its own first. A request is one packet with three descriptors: control, log, a lock or none. The replies are
`{"spawned": id, "pid": n}` with a pidfd of the child, and, once it is reaped, `{"exited": id, "status": n}`.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from workers.runtime.child.parent_death import die_at, die_with_parent

PACKET = 65_536
Entry = Callable[[str, int], int]
"""(folder, control descriptor) -> exit status."""


def _import_entry(name: str) -> Entry:
    module, function = name.split(":")
    entry: Entry = getattr(importlib.import_module(module), function)
    return entry


class ForkServer:
    """Serves one socket until it is closed."""

    def __init__(self, channel: socket.socket, entry: Entry) -> None:
        self._channel = channel
        self._entry = entry
        self._children: dict[int, str] = {}
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Serve until the supervisor closes its end."""
        while True:
            requests = self._channel.fileno()
            ready, _, _ = select.select([requests, self._wake_read], [], [])
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            self._reap()
            if requests in ready and not self._fork_one():
                return

    def _reply(self, *descriptors: int, **fields: object) -> None:
        socket.send_fds(self._channel, [json.dumps(fields).encode()], descriptors)

    def _reap(self) -> None:
        """Report exited children. Kill the rest of a child's session too: those processes hold the slot's lock."""
        while self._children:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            with suppress(ProcessLookupError):
                os.killpg(ended.si_pid, signal.SIGKILL)  # its pid is not reused before it is reaped
            _, status = os.waitpid(ended.si_pid, 0)
            identity = self._children.pop(ended.si_pid, None)
            if identity is not None:
                self._reply(exited=identity, status=os.waitstatus_to_exitcode(status))

    def _fork_one(self) -> bool:
        packet, descriptors, _, _ = socket.recv_fds(self._channel, PACKET, 3)
        if not packet:
            return False
        request = json.loads(packet)
        pid = os.fork()
        if pid == 0:
            self._become_child(request, descriptors)
        self._children[pid] = request["id"]
        descriptors.append(os.pidfd_open(pid))
        self._reply(descriptors[-1], spawned=request["id"], pid=pid)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _become_child(self, request: dict[str, Any], descriptors: list[int]) -> NoReturn:
        """In the child: new session, parent death signal, deadline and output; then run the entry and exit."""
        status = 1
        try:
            control, log, *_lock = descriptors
            os.setsid()
            die_with_parent(request["server"])
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            die_at(request["until"])
            self._channel.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            with open(os.devnull, "rb") as null:  # noqa: PTH123 (a device)
                os.dup2(null.fileno(), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            os.environ["CUDA_VISIBLE_DEVICES"] = request["visible"]
            status = self._entry(request["folder"], control)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            with suppress(OSError):  # a full disk must not keep the child alive
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


def main(descriptor: int, parent: int, entry: str, modules: Sequence[str] = ()) -> None:
    """Import the entry and further modules, reply `ready`, serve."""
    die_with_parent(parent)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    loaded = _import_entry(entry)
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # imported objects are never collected, so that children share their pages
    server = ForkServer(channel, loaded)
    channel.send(json.dumps({"ready": os.getpid()}).encode())
    server.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
