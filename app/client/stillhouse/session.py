"""What all objects of one client share."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from stillhouse.drivers import AsyncDriver, SyncDriver
from stillhouse.flows.sending import Retries
from stillhouse.progress import wanted

D = TypeVar("D", SyncDriver, AsyncDriver)


@dataclass(frozen=True)
class Session(Generic[D]):
    """The driver, and what holds for every call. `progress`: None shows it where somebody can see it."""

    driver: D
    retries: Retries
    progress: bool | None

    def shows(self, progress: bool | None) -> bool:
        """Whether a call shows its progress, as the call or else the client says."""
        return wanted(self.progress if progress is None else progress)


def retries_of(retries: int | Retries) -> Retries:
    """A number of repetitions as retries; 0 repeats nothing."""
    return Retries(count=retries) if isinstance(retries, int) else retries
