"""Every fault of the campaign, one line each: a name, and a function of (seed, folder, database URL)."""

from functools import partial

from tests.faults.campaign.control_faults import (
    clock_jumps,
    database_restarts,
    drain,
    load,
    long_life,
    lost_answers,
    stops,
)
from tests.faults.campaign.outcome import Fault
from tests.faults.disk.storage_faults import failed_calls, flipped_bits, full_disk
from tests.faults.kills.kills_in_phases import killed_in_phases
from tests.faults.kills.kills_of_serve import killed_serve
from tests.faults.kills.kills_of_services import killed_services
from tests.faults.kills.kills_of_workers import killed_workers
from tests.faults.kills.zombies import zombies
from tests.faults.services.small_jobs import KINDS

FAULTS: tuple[Fault, ...] = (
    Fault("kill child, fork server, supervisor; stop supervisor", killed_workers),
    Fault("kill child, fork server, supervisor, API", killed_services),
    Fault("kill each part of serve", killed_serve, ("sqlite",)),
    *(Fault(f"kill in every phase: {kind}", partial(killed_in_phases, (kind,))) for kind in KINDS),
    Fault("zombie supervisor", zombies),
    Fault("SIGTERM, once and twice", drain),
    Fault("pause and cancel, also of a child that does not respond", stops),
    Fault("PostgreSQL restarted in a loop", database_restarts, ("postgresql",)),
    Fault("connection cut at COMMIT", lost_answers, ("postgresql",)),
    Fault("clock an hour off", clock_jumps, ("sqlite",)),
    Fault("every system call of publishing fails", failed_calls, ("sqlite",)),
    Fault("bits of published files flip", flipped_bits, ("sqlite",)),
    Fault("disk full", full_disk, ("sqlite",)),
    Fault("200 jobs through one service", long_life, ("sqlite",)),
    Fault("64 clients for 60 s", load),
)
