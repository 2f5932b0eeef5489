"""The outcome of one round of a fault."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path


class Needs(Exception):
    """The machine lacks something that a fault needs: the row states it, and nothing failed."""


@dataclass(frozen=True)
class Outcome:
    """One round. Counts are of jobs (or of what the fault submits)."""

    kills: int = 0
    """Processes ended by SIGKILL."""
    others: int = 0
    """Other faults that were injected: other signals, restarts, errors of the system, flipped bits."""
    lost: int = 0
    """Accepted, but not ended as expected."""
    doubled: int = 0
    """Ended or published twice, or a slot with two children at a time."""
    stuck: int = 0
    """Held by a dead process for more than the lease and 15 s, or never ended."""
    stale: tuple[str, ...] = ()
    """Descriptions of rows, files and processes that should have been removed."""
    bit_exact: bool | None = None
    """Whether every student is that of an undisturbed run; None where the fault touches none."""
    recovery: float | None = None
    """The longest time in seconds from a fault until the affected part worked again; waiting for slots included."""

    @property
    def flawless(self) -> bool:
        """Whether nothing failed."""
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
"""(seed, an empty folder, the URL of an empty database) -> outcome. Raises Needs."""


@dataclass(frozen=True)
class Fault:
    """One row of the table: its name, the function that injects it, and the databases that it runs on."""

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
    """Error messages of rounds that were aborted."""
    needs: str = ""
