"""One job as it is carried out: its order, where its events go, when it must stop."""

import time
from pathlib import Path

import torch

from app.contracts.wire.events import ChildEvent, PhaseEvent, WarningEvent
from app.contracts.wire.orders import Order
from workers.engine.common.files import read_document, write_document
from workers.engine.common.stop import Stop, check
from workers.engine.tasks.run_spec import Spec
from workers.engine.training.interface import Emit


class Job:
    """What every step of a training job needs. It remembers the warnings and the seconds of each phase."""

    def __init__(self, order: Order, spec: Spec, emit: Emit, stop: Stop) -> None:
        self.order = order
        self.spec = spec
        self.stop = stop
        self.device = torch.device(order.device)
        self.warnings: list[dict[str, str]] = []
        """{code, message} of everything that was warned of, for the report."""
        self.seconds: dict[str, float] = {}
        """By phase; of those that have ended."""
        self.phase = "starting"
        self._began = 0.0
        self._emit = emit

    def emit(self, event: ChildEvent) -> None:
        """Send an event to the supervisor."""
        if isinstance(event, WarningEvent):
            self.warnings.append({"code": event.code, "message": event.message})
        self._emit(event)

    def enter(self, phase: str) -> None:
        """Begin a phase, which ends the one before. Raises Stopped."""
        self.check_stop()
        self.end_phase()
        self.phase, self._began = phase, time.monotonic()
        self.emit(PhaseEvent.model_validate({"phase": phase}))

    def end_phase(self, seconds: float | None = None) -> None:
        """Note how long the phase took: `seconds`, where earlier attempts count too, else since it began."""
        if self._began:
            self.seconds[self.phase] = time.monotonic() - self._began if seconds is None else seconds
            self._began = 0.0

    def check_stop(self) -> None:
        """Raises Stopped where a stop is requested."""
        check(self.stop)

    @property
    def checkpoints(self) -> Path:
        """The folder that lasts over the attempts of the job."""
        return Path(self.order.checkpoints_dir)

    def warn_of_spec(self) -> None:
        """Repeat what the resolution of the spec warned of, as the first attempt was given it.

        Later attempts are given the spec with every default filled in, in which what was left out leaves no trace.
        """
        path = self.checkpoints / "warnings.json"
        kept = read_document(path)
        if kept is None:
            kept = {"warnings": list(self.order.warnings)}
            write_document(path, kept)
        for warning in kept["warnings"]:
            self.emit(WarningEvent(code=warning["code"], message=warning["message"]))
