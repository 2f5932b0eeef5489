"""Ends a child whose process lives and does nothing that anyone can see: of a job, or of a session of predictions."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.contracts.wire.events import PhaseEvent, ProgressEvent
from app.queue.ledger import Event

LONGEST_PAUSE = 5.0
"""Seconds without a look that count. Beyond these the supervisor itself was stopped, perhaps with the child."""


@dataclass(frozen=True)
class Deadline:
    """`message` is the error of a job that was stopped for it, and `code` its code."""

    seconds: float
    code: str
    message: str


class Watchdog:
    """Counts the seconds since a child last showed progress: an event, or a heartbeat.

    Processor time says nothing: a loop without an end is busy. `advice` is the way out that its error names.
    """

    def __init__(self, seconds: float, advice: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._advice = advice
        self._clock = clock
        self._silent = 0.0
        self._looked: float | None = None
        self._phase = "starting"
        self._steps = ""

    def look(self, events: Sequence[Event] | None) -> None:
        """Take note of what the child has written since the last look; None: nothing."""
        now = self._clock()
        pause = 0.0 if self._looked is None else min(now - self._looked, LONGEST_PAUSE)
        self._looked = now
        self._silent = self._silent + pause if events is None else 0.0
        for event in events or ():
            if isinstance(event, PhaseEvent):
                self._phase = event.phase
            elif isinstance(event, ProgressEvent):
                self._steps = f", step {event.step} of {event.steps}"

    @property
    def exceeded(self) -> Deadline | None:
        """The error of the job, once it has been silent for too long."""
        if self._silent < self._seconds:
            return None
        message = (
            f"expected a step, a block of rows or an event at least every {self._seconds:.0f} s, found none for "
            f"{self._silent:.0f} s (phase `{self._phase}`{self._steps}), and stopped the job: {self._advice}"
        )
        return Deadline(seconds=self._seconds, code="stalled", message=message)
