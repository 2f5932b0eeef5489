"""A running job: its order, events, phases, and requests to stop."""

import time
from pathlib import Path

import torch

from app.contracts.problems import Chosen
from app.contracts.resolving.recipe.weak_teacher import (
    LABELS,
    SOFT,
    chosen_for_weak_teachers,
    for_weak_teachers,
)
from app.contracts.specs.jobs import AnyTrainingJob
from app.contracts.wire.events import ChildEvent, PhaseEvent, WarningEvent
from app.contracts.wire.orders import Order
from workers.engine.common.files import read_document, write_document
from workers.engine.common.stop import Stop, check
from workers.engine.training.interface import Emit


class Job:
    """The context of a training job; records its warnings and the seconds of each phase."""

    def __init__(self, order: Order, spec: AnyTrainingJob, emit: Emit, stop: Stop) -> None:
        self.order = order
        self.spec = spec
        self.stop = stop
        self.device = torch.device(order.device)
        self.warnings: list[dict[str, str]] = []
        """{code, message} of each warning, for the report."""
        self.chosen: dict[str, Chosen] = {}
        """What the recipe chose, for the report."""
        self.compares_teachers = False
        """Whether weights may be chosen by a comparison of teachers and controls: not in jobs of earlier versions."""
        self.seconds: dict[str, float] = {}
        """Seconds of the finished phases."""
        self.phase = "starting"
        self._began = 0.0
        self._emit = emit

    def emit(self, event: ChildEvent) -> None:
        """Send an event to the supervisor, and record warnings."""
        if isinstance(event, WarningEvent):
            self.warnings.append({"code": event.code, "message": event.message})
        self._emit(event)

    def enter(self, phase: str) -> None:
        """Begin a phase and end the one before. Raises Stopped."""
        self.check_stop()
        self.end_phase()
        self.phase, self._began = phase, time.monotonic()
        self.emit(PhaseEvent.model_validate({"phase": phase}))

    def end_phase(self, seconds: float | None = None) -> None:
        """Record the duration of the phase: `seconds` if given (including earlier attempts), else since it began."""
        if self._began:
            self.seconds[self.phase] = time.monotonic() - self._began if seconds is None else seconds
            self._began = 0.0

    def check_stop(self) -> None:
        """Raise Stopped if a stop is requested."""
        check(self.stop)

    def lower_weights(self, reasons: dict[str, str]) -> None:
        """Take over the weights of weak teachers for the tasks in `reasons`, and warn of them: once in an attempt."""
        self.spec = for_weak_teachers(self.spec, reasons)
        self.chosen.update(chosen_for_weak_teachers(self.spec, reasons, self.chosen))
        message = (
            f"{'; '.join(reasons.values())}. Expected a stronger teacher; the students train with {SOFT:g} for soft "
            f"targets and {LABELS:g} for labels instead of the weights that the recipe chose before. Train the teacher "
            "longer or use a better one"
        )
        self.emit(WarningEvent(code="teacher_weaker_than_control", message=message))

    @property
    def outputs(self) -> Path:
        """The folder of the attempt's output files."""
        folder = Path(self.order.attempt_dir) / "outputs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def checkpoints(self) -> Path:
        """The folder that all attempts of the job share."""
        return Path(self.order.checkpoints_dir)

    def warn_of_spec(self) -> None:
        """Emit the warnings of the resolution of the spec, and take over what it chose, as the first attempt received
        them.

        Later attempts receive the resolved spec with all defaults, which gives no warnings and leaves no choice.
        """
        path = self.checkpoints / "warnings.json"
        document = read_document(path)
        if document is None:
            chosen = {pointer: each.model_dump(mode="json") for pointer, each in self.order.chosen.items()}
            document = {"warnings": list(self.order.warnings), "chosen": chosen, "compares_teachers": True}
            write_document(path, document)
        self.chosen = {pointer: Chosen(**each) for pointer, each in document.get("chosen", {}).items()}
        self.compares_teachers = document.get("compares_teachers", False)
        for warning in document["warnings"]:
            self.emit(WarningEvent(code=warning["code"], message=warning["message"]))
