"""Every fault of the campaign, a line each: a name, and a function of (seed, folder, database URL)."""

from functools import partial

from tests.faults.campaign.outcome import Fault
from tests.faults.kills_in_phases import KINDS, killed_in_every_phase
from tests.faults.kills_of_services import killed_services
from tests.faults.kills_of_workers import killed_workers
from tests.faults.zombies import zombies

FAULTS: tuple[Fault, ...] = (
    Fault("kill child, fork server, supervisor; stop supervisor", killed_workers),
    Fault("kill child, fork server, supervisor, API", killed_services),
    *(Fault(f"kill in every phase: {kind}", partial(killed_in_every_phase, kind)) for kind in KINDS),
    Fault("zombie supervisor", zombies),
)
