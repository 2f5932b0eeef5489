"""Ends a job whose process lives, renews its lease and does nothing that anyone can see."""

import time
from collections.abc import Callable, Sequence

from app.contracts.wire.events import PhaseEvent, ProgressEvent
from app.queue.ledger import Event
from workers.runtime.supervisor.deadlines import Deadline

LONGEST_PAUSE = 5.0
"""Seconds without a look that count. Beyond these the supervisor itself was stopped, perhaps with the child."""


class Watchdog:
    """Counts the seconds since a child last showed progress: an event, or a heartbeat.

    Processor time says nothing: a loop without an end is busy.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
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
            f"{self._silent:.0f} s (phase `{self._phase}`{self._steps}), and stopped the job: check that its models "
            "run on rows of this dataset, where an ONNX graph may loop; raise STILLHOUSE_STALLED_SECONDS of the worker "
            "where one block takes longer. A retry continues from the last checkpoint"
        )
        return Deadline(seconds=self._seconds, code="stalled", message=message)
