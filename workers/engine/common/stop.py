"""Requests to stop a job, and the exception by which the engine answers them."""

from typing import Literal, Protocol

from workers.engine.common.progress import moved

StopReason = Literal["cancel", "pause", "drain"]


class Stop(Protocol):
    """Polled at every step, so it must be cheap."""

    def requested(self) -> StopReason | None:
        """The reason to stop; None to continue."""
        ...


class NeverStop:
    """For notebooks and tests: runs to completion."""

    def requested(self) -> StopReason | None:
        return None


class Stopped(Exception):
    """The engine stopped on request; a checkpoint is on disk if training had begun."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(f"stopped to {reason}")
        self.reason = reason


def check(stop: Stop) -> None:
    """Raise Stopped if a stop is requested; a poll is a sign of progress."""
    moved()
    reason = stop.requested()
    if reason is not None:
        raise Stopped(reason)
