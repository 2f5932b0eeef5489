"""The child: where runtime meets engine. It runs one attempt and exits by the contract of `ExitCode`.

Started by the fork server in a process of its own. It has no database and no network: an order on disk, events
appended to a spool, control by a pipe, an outcome on disk.
"""

import json
import os
import signal
import threading
import traceback
from contextlib import suppress
from pathlib import Path

from app.contracts.events import ChildEvent
from app.contracts.jobs import InspectJob
from app.contracts.orders import CONTROL_MESSAGE, ExitCode, FailureOutcome, Order
from app.contracts.problems import JobError, UserError
from workers.engine.control import Stopped, StopReason
from workers.engine.files import sync
from workers.engine.run import execute
from workers.runtime.lifeline import live_until
from workers.runtime.sandbox import confine


class Control(threading.Thread):
    """Reads the pipe: renewals re-arm the alarm, the rest is remembered for the engine to poll.

    When the pipe ends the supervisor is dead, and so is this process. Should this thread starve, the alarm ends
    the process, which is the safe side.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(name="control", daemon=True)
        self._descriptor = descriptor
        self._reason: StopReason | None = None

    def requested(self) -> StopReason | None:
        """See `workers.engine.control.Stop`."""
        return self._reason

    def run(self) -> None:
        """Until the pipe ends."""
        with os.fdopen(self._descriptor, "rb") as pipe:
            for line in pipe:
                message = CONTROL_MESSAGE.validate_json(line)
                if message.type == "renew":
                    live_until(message.seconds or 0.0)
                elif self._reason != "cancel":
                    self._reason = message.type
        os.kill(os.getpid(), signal.SIGKILL)


class Events:
    """Appends events to the spool, one write a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def emit(self, event: ChildEvent) -> None:
        """Write one event."""
        self._file.write(event.model_dump_json().encode() + b"\n")


def _write_outcome(folder: Path, text: str) -> None:
    """Whole or absent: its presence with exit status 0 means done."""
    draft = folder / ".outcome.json"
    draft.write_text(text)
    sync(draft)
    draft.rename(folder / "outcome.json")
    sync(folder)


def _failure(code: str, error_class: str, message: str) -> str:
    error = JobError.model_validate({"code": code, "class": error_class, "message": message})
    return json.dumps({**FailureOutcome(error=error).model_dump(mode="json", by_alias=True)})


def _carry_out(order: Order, folder: Path, control: Control) -> ExitCode:
    try:
        outcome = execute(order, Events(folder / "events.jsonl").emit, control)
    except Stopped:
        return ExitCode.REQUEUE
    except UserError as error:
        _write_outcome(folder, _failure(error.code, "user", error.message))
        return ExitCode.USER_ERROR
    for file in getattr(outcome, "files", ()):
        sync(folder / "outputs" / file.path)
    _write_outcome(folder, outcome.model_dump_json(by_alias=True))
    return ExitCode.DONE


def main(attempt_dir: str, control: int) -> int:
    """Run the attempt of a directory; the exit status."""
    folder = Path(attempt_dir)
    try:
        order = Order.model_validate_json((folder / "order.json").read_bytes(), extra="ignore")
        if isinstance(order.spec, InspectJob):
            confine(folder, order.memory_bytes)  # before the first thread: confinement is inherited, not shared
        watcher = Control(control)
        watcher.start()
        return _carry_out(order, folder, watcher)
    except BaseException as error:
        traceback.print_exc()
        with suppress(OSError):
            message = f"{type(error).__name__}: {error}"[:2000]
            _write_outcome(folder, _failure("crashed", "infrastructure", message))
        return 1
