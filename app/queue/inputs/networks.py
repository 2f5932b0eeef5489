"""The networks of libraries that jobs train: measured once for all projects, by inspections."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.problems import Rejection
from app.contracts.specs.families.library import LIBRARY_ARCHITECTURE, LibraryArchitecture, MeasuredTrunk
from app.contracts.specs.jobs import InspectJob
from app.contracts.states import LEASED, TERMINAL, JobState, Trigger
from app.db.base import json_text
from app.db.clock import utcnow
from app.db.engine import Database
from app.db.rows import JobInputRow, JobRow, NetworkRow
from app.db.signals import announce
from app.db.writes import insert_all, upsert
from app.queue import submission
from app.queue.records import Claim, NewJob
from app.queue.transitions import lock, write_state

REJECTED = timedelta(minutes=1)
"""How long a rejection is repeated; after that another worker, or a newer library, may have the network."""
Trunks = dict[str, MeasuredTrunk | Rejection]


def by_digest(networks: Iterable[LibraryArchitecture]) -> dict[str, LibraryArchitecture]:
    """Networks without heads by the digest of their trunk."""
    return {each.trunk_digest(each.input_shape or ()): each for each in networks}


async def known(session: AsyncSession, networks: Iterable[LibraryArchitecture]) -> Trunks:
    """What is known of these networks: measurements, and rejections that are not old."""
    query = select(NetworkRow).where(NetworkRow.digest.in_(by_digest(networks)))
    found: Trunks = {}
    for row in await session.scalars(query):
        if row.measured is not None:
            found[row.digest] = MeasuredTrunk.model_validate(row.measured, strict=False, extra="ignore")
        elif row.rejection is not None and row.measured_at > utcnow() - REJECTED:
            found[row.digest] = Rejection.model_validate(row.rejection)
    return found


async def request(
    session: AsyncSession, networks: Sequence[LibraryArchitecture], project_id: str, key_id: str | None = None
) -> list[str]:
    """The inspections that measure these networks, which are submitted where there is none; of those that are measured
    already, none.
    """
    wanted = by_digest(networks)
    have = await known(session, networks)
    jobs = []
    for digest in sorted(set(wanted) - set(have)):
        running = await _running(session, digest)
        if running is None:
            running = await _submitted(session, digest, wanted[digest], project_id, key_id)
        jobs.append(running)
    return jobs


async def _running(session: AsyncSession, digest: str) -> str | None:
    """The inspection of this network that has not ended."""
    query = select(JobRow.id).join(NetworkRow, NetworkRow.job_id == JobRow.id)
    return await session.scalar(query.where(NetworkRow.digest == digest, JobRow.state.not_in(TERMINAL)))


async def _submitted(
    session: AsyncSession, digest: str, network: LibraryArchitecture, project_id: str, key_id: str | None
) -> str:
    job = await submission.submit(session, NewJob(InspectJob(network=network), project_id=project_id, key_id=key_id))
    values: dict[str, Any] = {"network": network.model_dump(mode="json"), "job_id": job.id, "measured_at": utcnow()}
    values |= {"measured": None, "rejection": None}
    inserted = upsert(session, NetworkRow).values(digest=digest, **values)
    await session.execute(inserted.on_conflict_do_update(index_elements=[NetworkRow.digest], set_=values))
    return job.id


async def store(
    session: AsyncSession, job: JobRow, measured: MeasuredTrunk | None, rejection: Rejection | None
) -> None:
    """The result of an inspection, for all who wait for it; nothing if it inspected no network.

    Two requests at once may have started an inspection each: both results are good.
    """
    document = job.spec.get("network")
    if document is None:
        return
    network = LIBRARY_ARCHITECTURE.validate_json(json_text(document), extra="ignore")
    digest = network.trunk_digest(network.input_shape or ())
    values = {
        "measured": None if measured is None else measured.model_dump(mode="json"),
        "rejection": None if rejection is None else rejection.model_dump(mode="json"),
        "measured_at": utcnow(),
    }
    await session.execute(update(NetworkRow).where(NetworkRow.digest == digest).values(values))
    announce(session, digest)


async def known_to(database: Database, networks: Sequence[LibraryArchitecture]) -> Trunks:
    """As `known`, in a session of its own."""
    async with database.read() as session:
        return await known(session, networks)


async def wait_for(database: Database, claim: Claim, networks: Sequence[LibraryArchitecture]) -> bool:
    """Give a claimed job back to the queue until its networks are measured; False if the claim is lost."""
    async with database.write() as session:
        job = await lock(session, claim.job_id, claim.token)
        if job is None or job.state not in LEASED:
            return False
        awaited = await request(session, networks, job.project_id, job.key_id)
        have = select(JobInputRow.upstream_id).where(JobInputRow.job_id == job.id, JobInputRow.upstream_id.in_(awaited))
        already = set(await session.scalars(have))
        rows = [_entry(job.id, upstream) for upstream in awaited if upstream not in already]
        await insert_all(session, JobInputRow, rows)
        await write_state(session, job, _given_back(job))
        return True


async def leave_to_others(database: Database, claim: Claim, extra: str) -> bool:
    """Give a claimed job back to the queue, for a worker that has this extra; False if the claim is lost."""
    async with database.write() as session:
        job = await lock(session, claim.job_id, claim.token)
        if job is None or job.state not in LEASED:
            return False
        await write_state(session, job, _given_back(job), {"extra": extra}, extra=extra)
        return True


def _given_back(job: JobRow) -> Trigger:
    return Trigger.YIELD if job.state is JobState.CANCELLING else Trigger.DRAIN


def _entry(job_id: str, upstream: str) -> Mapping[str, Any]:
    return {"job_id": job_id, "role": "network", "model_id": None, "dataset_id": None, "upstream_id": upstream}
