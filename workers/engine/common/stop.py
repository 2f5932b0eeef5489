"""How a child is told to stop, and how the engine says that it has."""

from typing import Literal, Protocol

StopReason = Literal["cancel", "pause", "drain"]


class Stop(Protocol):
    """Polled at every step: must cost next to nothing."""

    def requested(self) -> StopReason | None:
        """Why to stop, or None to go on."""
        ...


class NeverStop:
    """For notebooks and tests: runs to the end."""

    def requested(self) -> StopReason | None:
        """None, always."""
        return None


class Stopped(Exception):
    """The engine stopped as it was told; a checkpoint lies on disk if training had begun."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(f"stopped to {reason}")
        self.reason = reason


def check(stop: Stop) -> None:
    """Raises Stopped where a stop is requested."""
    reason = stop.requested()
    if reason is not None:
        raise Stopped(reason)
