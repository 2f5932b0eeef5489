"""The child's ends of what connects it to the supervisor: the pipe, the spool, the outcome."""

import os
import signal
import threading
from pathlib import Path
from typing import Literal

from app.contracts.problems import ErrorClass, JobError
from app.contracts.wire.events import ChildEvent
from app.contracts.wire.orders import (
    CONTROL_MESSAGE,
    FailureOutcome,
    InspectionOutcome,
    PreflightOutcome,
    TrainingOutcome,
)
from app.storage.durable import sync_directory, sync_file
from workers.runtime.lifeline import live_until


class Control(threading.Thread):
    """Reads the pipe: renewals re-arm the alarm, the rest is remembered for the engine to poll.

    When the pipe ends the supervisor is dead, and so is this process. Should this thread starve, the alarm ends
    the process, which is the safe side.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(name="control", daemon=True)
        self._descriptor = descriptor
        self._reason: Literal["cancel", "pause", "drain"] | None = None

    def requested(self) -> Literal["cancel", "pause", "drain"] | None:
        """Why to stop, or None to go on; costs an attribute's look-up."""
        return self._reason

    def run(self) -> None:
        """Until the pipe ends."""
        with os.fdopen(self._descriptor, "rb") as pipe:
            for line in pipe:
                message = CONTROL_MESSAGE.validate_json(line)
                if message.type == "renew":
                    live_until(message.until or 0.0)
                elif self._reason != "cancel":
                    self._reason = message.type
        os.kill(os.getpid(), signal.SIGKILL)


class Events:
    """Appends events to the spool, one write a line. Never waits for whoever reads them."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "events.jsonl").open("ab", buffering=0)

    def emit(self, event: ChildEvent) -> None:
        """Write one event."""
        self._file.write(event.model_dump_json().encode() + b"\n")

    def close(self) -> None:
        """No more events."""
        self._file.close()


def write_outcome(
    folder: Path, outcome: TrainingOutcome | PreflightOutcome | InspectionOutcome | FailureOutcome
) -> None:
    """Whole or absent: its presence with exit status 0 means done. The files it names are on the disk before it."""
    for file in getattr(outcome, "files", ()):
        sync_file(folder / "outputs" / file.path)
    draft = folder / ".outcome.json"
    draft.write_text(outcome.model_dump_json(by_alias=True))
    sync_file(draft)
    draft.rename(folder / "outcome.json")
    sync_directory(folder)


def failure(code: str, error_class: ErrorClass, message: str) -> FailureOutcome:
    """An outcome that says why there is none."""
    return FailureOutcome(error=JobError.model_validate({"code": code, "class": error_class, "message": message}))
