"""The warm fork server: a process that has imported the engine, computes nothing, and forks a child a request.

    python -m workers.runtime.forkserver SOCKET PARENT MODULE:FUNCTION

It has one thread and never runs a torch operation (a child of a process that ran one hangs at its first), so that
fork is safe. A request is one packet with three descriptors: the control pipe, the slot's lock, the log. Answers
are `{"spawned": id, "pid": n}`, with a pidfd of the child, and, when it is reaped, `{"exited": id, "status": n}`.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from workers.runtime.lifeline import die_with_parent, live_until

PACKET = 65_536
Entry = Callable[[str, int], int]
"""(attempt directory, control descriptor) -> exit status."""


def _entry(name: str) -> Entry:
    module, function = name.split(":")
    found: Entry = getattr(importlib.import_module(module), function)
    return found


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
        """Until the supervisor closes its end."""
        while True:
            requests = self._channel.fileno()
            ready, _, _ = select.select([requests, self._wake_read], [], [])
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            self._reap()
            if requests in ready and not self._one_request():
                return

    def _say(self, *descriptors: int, **words: object) -> None:
        socket.send_fds(self._channel, [json.dumps(words).encode()], descriptors)

    def _reap(self) -> None:
        """Report who has ended. What a child has started in its session ends with it: it would keep the slot's lock."""
        while self._children:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            with suppress(ProcessLookupError):
                os.killpg(ended.si_pid, signal.SIGKILL)  # before it is reaped its number is nobody else's
            _, status = os.waitpid(ended.si_pid, 0)
            identity = self._children.pop(ended.si_pid, None)
            if identity is not None:
                self._say(exited=identity, status=os.waitstatus_to_exitcode(status))

    def _one_request(self) -> bool:
        packet, descriptors, _, _ = socket.recv_fds(self._channel, PACKET, 3)
        if not packet:
            return False
        request = json.loads(packet)
        pid = os.fork()
        if pid == 0:
            self._become_child(request, descriptors)
        self._children[pid] = request["id"]
        descriptors.append(os.pidfd_open(pid))
        self._say(descriptors[-1], spawned=request["id"], pid=pid)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _become_child(self, request: dict[str, Any], descriptors: list[int]) -> NoReturn:
        """In the child: its own session, its own fate, its own output; then the entry, and nothing after it."""
        status = 1
        try:
            control, _lock, log = descriptors
            os.setsid()
            die_with_parent(request["server"])
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            live_until(request["until"])
            self._channel.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            with open(os.devnull, "rb") as nothing:  # noqa: PTH123 (a device, not a path of ours)
                os.dup2(nothing.fileno(), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            os.environ["CUDA_VISIBLE_DEVICES"] = request["visible"]
            status = self._entry(request["attempt_dir"], control)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            with suppress(OSError):  # a full disk must not keep the child alive
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


def main(descriptor: int, parent: int, entry: str) -> None:
    """Import the entry, say `ready`, serve."""
    die_with_parent(parent)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    loaded = _entry(entry)
    gc.collect()
    gc.freeze()  # what is imported is never freed: children share these pages
    server = ForkServer(channel, loaded)
    channel.send(json.dumps({"ready": os.getpid()}).encode())
    server.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
