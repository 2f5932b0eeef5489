"""Something that may be deleted."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StaleItem:
    """Something that may be deleted, and how. `remove` checks again, and keeps what is in use by then."""

    kind: str
    name: str
    bytes: int
    remove: Callable[[], None]
