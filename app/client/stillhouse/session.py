"""What all objects of one client share."""

from dataclasses import dataclass
from math import isfinite
from typing import Generic, TypeVar

from stillhouse.drivers import AsyncDriver, SyncDriver
from stillhouse.flows.sending import Retries
from stillhouse.progress import wanted

D = TypeVar("D", SyncDriver, AsyncDriver)


@dataclass(frozen=True)
class Session(Generic[D]):
    """The driver, and what holds for every call. `progress`: None shows it in terminals and notebooks."""

    driver: D
    retries: Retries
    progress: bool | None

    def shows(self, progress: bool | None) -> bool:
        """Whether a call shows its progress, as the call or else the client says."""
        return wanted(self.progress if progress is None else progress)


def retries_of(retries: int | Retries) -> Retries:
    """A number of repetitions as retries; 0 repeats nothing. Raises TypeError, ValueError."""
    if isinstance(retries, Retries):
        return retries
    if not isinstance(retries, int) or isinstance(retries, bool):
        raise TypeError(
            f"expected `retries` as a number or as Retries, found {type(retries).__name__}: pass one of them"
        )
    if retries < 0:
        raise ValueError(f"expected `retries` of 0 or more, found {retries}: 0 repeats nothing")
    return Retries(count=retries)


def checked_timeout(timeout: float) -> float:
    """A number of seconds. Raises TypeError, ValueError."""
    if not isinstance(timeout, int | float) or isinstance(timeout, bool):
        raise TypeError(f"expected `timeout` as seconds, found {type(timeout).__name__}: pass a number")
    if not (timeout > 0 and isfinite(timeout)):
        raise ValueError(f"expected `timeout` as more than 0 seconds, found {timeout}: pass such as 30")
    return timeout
