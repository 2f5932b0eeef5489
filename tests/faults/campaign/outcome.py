"""What one round of a fault came to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path


class Needs(Exception):
    """The machine lacks what a fault is made with: the row says so, and nothing failed."""


@dataclass(frozen=True)
class Outcome:
    """One round. Counts are of jobs (or whatever the fault accepts)."""

    kills: int = 0
    """Processes ended by SIGKILL."""
    others: int = 0
    """All else that was really injected: other signals, restarts, errors of the system, flipped bits."""
    lost: int = 0
    """Accepted, and not ended as they should."""
    doubled: int = 0
    """Ended twice, published twice; a slot that two children had at once."""
    stuck: int = 0
    """Held by the dead past the lease and 15 s, or never ended."""
    stale: tuple[str, ...] = ()
    """Rows, files and processes that should be gone, in words."""
    bit_exact: bool | None = None
    """Whether every student is that of an undisturbed run; None where the fault touches none."""
    recovery: float | None = None
    """The longest wait in seconds from a fault until what it met worked again; slots to wait for included."""

    @property
    def flawless(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.doubled or self.stuck or self.stale) and self.bit_exact is not False


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Several outcomes as one."""
    found = list(outcomes)
    exact = [each.bit_exact for each in found if each.bit_exact is not None]
    waits = [each.recovery for each in found if each.recovery is not None]
    return Outcome(
        kills=sum(each.kills for each in found),
        others=sum(each.others for each in found),
        lost=sum(each.lost for each in found),
        doubled=sum(each.doubled for each in found),
        stuck=sum(each.stuck for each in found),
        stale=tuple(words for each in found for words in each.stale),
        bit_exact=all(exact) if exact else None,
        recovery=max(waits) if waits else None,
    )


Injection = Callable[[int, Path, str], Outcome]
"""(seed, an empty folder, the URL of an empty database) -> what came of it. Raises Needs."""


@dataclass(frozen=True)
class Fault:
    """One row of the table: its name, what injects it, and the databases that it is tried on."""

    name: str
    inject: Injection
    databases: tuple[str, ...] = ("sqlite", "postgresql")


@dataclass
class Row:
    """All rounds of one fault on one database."""

    fault: str
    database: str
    outcomes: list[Outcome] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Rounds that broke off, in words."""
    needs: str = ""
