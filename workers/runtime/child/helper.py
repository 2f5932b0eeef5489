"""A helper of a child that may not start programs: a process forked before it was confined, which starts some for it.

Both exchange lines of JSON over pipes. The child is not trusted: what it asks for is an argument of one function.
"""

import json
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from workers.runtime.child.parent_death import die_with_parent

_STANDARD = range(3)
"""Input, output, errors."""


class Helper:
    """Calls `function` in a process of its own, which ends with this one. Make it before the first thread."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        parent = os.getpid()
        requests, to_helper = os.pipe2(os.O_CLOEXEC)
        from_helper, replies = os.pipe2(os.O_CLOEXEC)
        if os.fork() == 0:
            _serve(function, requests, replies, parent)
        os.close(requests)
        os.close(replies)
        self._requests = os.fdopen(to_helper, "wb", buffering=0)
        self._replies = os.fdopen(from_helper, "rb")

    def call(self, argument: object) -> Any:
        """`function(argument)`, both as JSON; None where the function has failed, with which the process ends."""
        with suppress(BrokenPipeError):
            self._requests.write(json.dumps(argument).encode() + b"\n")
        line = self._replies.readline()
        return json.loads(line) if line else None


def _serve(function: Callable[[Any], Any], requests: int, replies: int, parent: int) -> NoReturn:
    try:
        die_with_parent(parent)
        _close_all_but({*_STANDARD, requests, replies})
        with os.fdopen(requests, "rb") as lines:
            for line in lines:
                os.write(replies, json.dumps(function(json.loads(line))).encode() + b"\n")
    finally:
        os._exit(1)


def _close_all_but(kept: Collection[int]) -> None:
    """The slot's lock among them, which must not outlive the child."""
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if descriptor not in kept:
            with suppress(OSError):  # that of the listing is closed already
                os.close(descriptor)
