"""Every fault of the campaign, a line each: a name, and a function of (seed, folder, database URL)."""

from functools import partial

from tests.faults.campaign.outcome import Fault
from tests.faults.kills_in_phases import killed_in_phases
from tests.faults.kills_of_serve import killed_serve
from tests.faults.kills_of_services import killed_services
from tests.faults.kills_of_workers import killed_workers
from tests.faults.lessons import KINDS
from tests.faults.zombies import zombies

FAULTS: tuple[Fault, ...] = (
    Fault("kill child, fork server, supervisor; stop supervisor", killed_workers),
    Fault("kill child, fork server, supervisor, API", killed_services),
    Fault("kill each part of serve", killed_serve, ("sqlite",)),
    *(Fault(f"kill in every phase: {kind}", partial(killed_in_phases, (kind,))) for kind in KINDS),
    Fault("zombie supervisor", zombies),
)
