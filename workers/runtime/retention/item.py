"""Something that may be deleted, now or later."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StaleItem:
    """Something that may be deleted, and how. `remove` checks again, and keeps what is in use by then."""

    kind: str
    name: str
    bytes: int
    remove: Callable[[], None]


@dataclass(frozen=True)
class KeptItem:
    """Something that may be deleted later: at the time `kept_until` (ISO 8601, UTC), or when its retry has ended."""

    kind: str
    name: str
    bytes: int
    kept_until: str
