"""The child's side of the connection to the supervisor: control pipe, event file, outcome file."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from app.contracts.problems import ErrorClass, JobError
from app.contracts.wire.events import ChildEvent
from app.contracts.wire.orders import CONTROL_MESSAGE, FailureOutcome, Outcome
from app.storage.durable import sync_directory, sync_file
from workers.runtime.child.parent_death import die_at

HEARTBEAT_SECONDS = 1.0
"""Least time between two heartbeats. It must be far below the shortest `stalled_seconds`."""


class Control(threading.Thread):
    """Reads the control pipe: renewals postpone the deadline, other messages are kept for the engine to poll.

    When the pipe closes, the supervisor is dead, and this process kills itself. If this thread gets no processor time,
    the deadline ends the process, which is safe.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(name="control", daemon=True)
        self._descriptor = descriptor
        self._reason: Literal["cancel", "pause", "drain"] | None = None

    def requested(self) -> Literal["cancel", "pause", "drain"] | None:
        """Why to stop, or None to continue. As cheap as reading an attribute."""
        return self._reason

    def run(self) -> None:
        """Read until the pipe closes."""
        with os.fdopen(self._descriptor, "rb") as pipe:
            for line in pipe:
                message = CONTROL_MESSAGE.validate_json(line)
                if message.type == "renew":
                    die_at(message.until or 0.0)
                elif self._reason != "cancel":
                    self._reason = message.type
        os.kill(os.getpid(), signal.SIGKILL)


class Events:
    """Appends events to the event file, one write per line. Never waits for the reader."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "events.jsonl").open("ab", buffering=0)

    def emit(self, event: ChildEvent) -> None:
        """Append one event."""
        self._file.write(event.model_dump_json().encode() + b"\n")

    def beat(self) -> None:
        """Append a heartbeat: an empty line, which is no event. Without space it is left out, as it stops no work."""
        with suppress(OSError):
            self._file.write(b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Heartbeat:
    """Called at each sign of progress, it writes a heartbeat at most once in HEARTBEAT_SECONDS."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._due = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + HEARTBEAT_SECONDS
            self._events.beat()


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write the outcome atomically. With exit status 0 it means success. The files it names are synced first."""
    for file in getattr(outcome, "files", ()):
        sync_file(folder / "outputs" / file.path)
    temporary = folder / ".outcome.json"
    temporary.write_text(outcome.model_dump_json(by_alias=True))
    sync_file(temporary)
    temporary.rename(folder / "outcome.json")
    sync_directory(folder)


def failure(code: str, error_class: ErrorClass, message: str) -> FailureOutcome:
    """The outcome of an attempt that failed."""
    return FailureOutcome(error=JobError.model_validate({"code": code, "class": error_class, "message": message}))
