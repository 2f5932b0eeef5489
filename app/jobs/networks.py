"""Networks of libraries that a spec names: measured by a worker while the request waits."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from app.access import limits
from app.access.waiting import until
from app.contracts.specs.families.library import LibraryArchitecture
from app.http.services import Caller, Services
from app.queue.inputs import networks
from app.queue.inputs.networks import Trunks

WAIT_SECONDS = 15.0
"""How long a request waits; after that the job is checked further when it is claimed."""


async def measured(services: Services, caller: Caller, wanted: Sequence[LibraryArchitecture]) -> Trunks:
    """What is known of these networks, after the inspections of those that no worker has measured yet."""
    known = await networks.known_to(services.database, wanted)
    if len(known) == len(networks.by_digest(wanted)):
        return known
    async with services.database.write() as session:
        await limits.admit_job(services, caller, session)
        await networks.request(session, wanted, caller.project_id, caller.key_id)

    async def load() -> Trunks:
        return await networks.known_to(services.database, wanted)

    missing = set(networks.by_digest(wanted)) - set(known)
    await asyncio.gather(*(_until_known(services, caller, digest, load) for digest in missing))
    return await load()


async def _until_known(services: Services, caller: Caller, digest: str, load: Callable[[], Awaitable[Trunks]]) -> None:
    await until(services, caller, digest, WAIT_SECONDS, load, lambda found: digest in found)
