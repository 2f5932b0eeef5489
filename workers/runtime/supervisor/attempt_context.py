"""What all attempts of one supervisor share."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from app.contracts.specs.families.family import Extra
from app.queue.ledger import Ledger
from app.queue.records import Claim
from app.settings import Settings
from workers.runtime.child.pool import ChildPool
from workers.runtime.disk.inputs import InputCache
from workers.runtime.disk.space import DiskSpace
from workers.runtime.paths import Paths
from workers.runtime.supervisor.deadlines import Deadlines
from workers.runtime.supervisor.ending import Ending
from workers.runtime.supervisor.publishing import Publisher

DEADLINE_SHARE = 0.75
"""How long a child may live after a renewal of its lease, as a share of the lease."""


@dataclass(frozen=True)
class AttemptContext:
    """The services and limits with which attempts run."""

    settings: Settings
    ledger: Ledger
    children: ChildPool
    children_by_extra: Mapping[Extra, ChildPool]
    """For jobs that need an extra; such a fork server starts with the first of them."""
    inputs: InputCache
    publisher: Publisher
    disk: DiskSpace
    deadlines: Deadlines
    stop_seconds: float
    extras: frozenset[Extra]
    """Optional parts of the package that are installed."""

    def pool(self, extras: Collection[Extra]) -> ChildPool:
        """Where the child of a job with these extras is started."""
        return next((pool for extra, pool in self.children_by_extra.items() if extra in extras), self.children)

    @property
    def paths(self) -> Paths:
        """Paths of the data directory."""
        return Paths(self.settings.data_dir)

    @property
    def child_seconds(self) -> float:
        """How long a child may live after its lease was last renewed."""
        return DEADLINE_SHARE * self.settings.lease_seconds

    def ending(self, claim: Claim) -> Ending:
        """How the attempt of a claim ends."""
        return Ending(claim, self.ledger, self.publisher, self.paths, self.settings.lease_seconds)
