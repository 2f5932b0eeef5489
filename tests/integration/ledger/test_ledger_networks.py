"""Networks of libraries: jobs wait for their measurement, and for workers that have the extra."""

from datetime import timedelta

from sqlalchemy import select, update

from app.contracts.problems import Rejection
from app.contracts.specs.families.library import MeasuredTrunk, Timm
from app.contracts.states import JobState
from app.contracts.wire.orders import InspectionOutcome
from app.db.clock import utcnow
from app.db.rows import JobInputRow, JobRow, NetworkRow
from app.queue.inputs import networks
from tests.integration.ledger.harness import LedgerHarness, crash, user_error

NETWORK = Timm(family="timm", name="test_vit", input_shape=(3, 32, 32))
OTHER = Timm(family="timm", name="test_vit", input_shape=(3, 64, 64))
TRUNK = MeasuredTrunk(
    library="timm 1.0",
    features=64,
    parameters=10,
    flops=20,
    depth=2,
    normalized=True,
    classifier="head",
    layers=(),
    processing=None,
)
MEASURED = InspectionOutcome(network=TRUNK)


async def inspections(harness: LedgerHarness) -> list[JobRow]:
    async with harness.database.read() as session:
        return list(await session.scalars(select(JobRow).where(JobRow.kind == "inspect").order_by(JobRow.id)))


async def test_a_job_waits_in_the_queue_until_its_network_is_measured(harness: LedgerHarness) -> None:
    job = await harness.job()
    assert await harness.ledger.wait_for_networks(await harness.claim(), [NETWORK])
    assert await harness.state(job) is JobState.QUEUED
    assert await harness.ledger.claim("owner-1", "train", "cpu") is None
    assert await harness.ledger.finish_inspection(await harness.running("inspect"), MEASURED)
    assert (await harness.claim()).job_id == job
    assert list((await harness.ledger.trunks([NETWORK])).values()) == [TRUNK]
    assert (await harness.row(job)).crashes == 0


async def test_a_network_is_measured_once_for_all_jobs_and_each_size_by_itself(harness: LedgerHarness) -> None:
    for network in (NETWORK, NETWORK, OTHER):
        await harness.job()
        assert await harness.ledger.wait_for_networks(await harness.claim(), [network])
    assert len(await inspections(harness)) == 2
    for _ in range(2):
        assert await harness.ledger.finish_inspection(await harness.running("inspect"), MEASURED)
    async with harness.database.write() as session:
        assert await networks.request(session, [NETWORK, OTHER], "prj_default") == []


async def test_a_job_that_waits_twice_names_its_inspection_once(harness: LedgerHarness) -> None:
    job = await harness.job()
    assert await harness.ledger.wait_for_networks(await harness.claim(), [NETWORK, NETWORK])
    assert await harness.ledger.finish_inspection(await harness.running("inspect"), MEASURED)
    assert await harness.ledger.wait_for_networks(await harness.claim(), [NETWORK, OTHER])
    async with harness.database.read() as session:
        awaited = await session.scalars(select(JobInputRow.role).where(JobInputRow.job_id == job))
        assert list(awaited).count("network") == 2


async def test_jobs_fail_with_an_inspection_that_failed_and_the_next_request_starts_another(
    harness: LedgerHarness,
) -> None:
    job = await harness.job()
    assert await harness.ledger.wait_for_networks(await harness.claim(), [NETWORK])
    assert await harness.ledger.fail(await harness.running("inspect"), user_error())
    row = await harness.row(job)
    assert row.state is JobState.FAILED
    assert row.error is not None
    assert row.error["code"] == "dependency_failed"
    async with harness.database.write() as session:
        assert len(await networks.request(session, [NETWORK], "prj_default")) == 1
    assert len(await inspections(harness)) == 2


async def test_a_crashed_inspection_is_tried_again(harness: LedgerHarness) -> None:
    await harness.job()
    assert await harness.ledger.wait_for_networks(await harness.claim(), [NETWORK])
    assert await harness.ledger.lose(await harness.running("inspect"), crash())
    assert await harness.ledger.finish_inspection(await harness.running("inspect"), MEASURED)
    assert await harness.ledger.trunks([NETWORK])


async def test_a_rejection_is_repeated_for_a_minute_and_then_looked_at_again(harness: LedgerHarness) -> None:
    rejected = Rejection(code="unknown_network", message="timm has no such network")
    async with harness.database.write() as session:
        await networks.request(session, [NETWORK], "prj_default")
    assert await harness.ledger.finish_inspection(
        await harness.running("inspect"), InspectionOutcome(rejection=rejected)
    )
    assert list((await harness.ledger.trunks([NETWORK])).values()) == [rejected]
    async with harness.database.write() as session:
        assert await networks.request(session, [NETWORK], "prj_default") == []
        await session.execute(
            update(NetworkRow).values(measured_at=utcnow() - networks.REJECTED - timedelta(seconds=1))
        )
    assert await harness.ledger.trunks([NETWORK]) == {}
    async with harness.database.write() as session:
        assert len(await networks.request(session, [NETWORK], "prj_default")) == 1


async def test_a_job_that_is_cancelled_while_its_worker_looks_does_not_come_back(harness: LedgerHarness) -> None:
    job = await harness.job()
    claim = await harness.claim()
    await harness.cancel(job)
    assert await harness.ledger.wait_for_networks(claim, [NETWORK])
    assert await harness.state(job) is JobState.CANCELLED
    assert not await harness.ledger.wait_for_networks(claim, [NETWORK])


async def test_a_job_is_left_to_workers_that_have_its_extra(harness: LedgerHarness) -> None:
    job = await harness.job()
    assert await harness.ledger.leave_to_others(await harness.claim(), "vision")
    assert await harness.ledger.claim("owner-1", "train", "cpu") is None
    behind = await harness.job()
    assert (await harness.claim()).job_id == behind
    found = await harness.ledger.claim("owner-2", "train", "cpu", {"vision"})
    assert found is not None
    assert found.job_id == job
    assert [event.data["extra"] for event in await harness.events(job) if "extra" in event.data] == ["vision"]


async def test_the_result_of_either_of_two_inspections_of_a_network_is_stored(harness: LedgerHarness) -> None:
    async with harness.database.write() as session:
        (first,) = await networks.request(session, [NETWORK], "prj_default")
        second = (await networks._submitted(session, by_digest(NETWORK), NETWORK, "prj_default", None)) or ""
    assert first != second
    claim = await harness.running("inspect")
    assert claim.job_id == first
    assert await harness.ledger.finish_inspection(claim, MEASURED)
    assert await harness.ledger.trunks([NETWORK])
    assert await harness.ledger.finish_inspection(await harness.running("inspect"), MEASURED)


def by_digest(network: Timm) -> str:
    (digest,) = networks.by_digest([network])
    return digest
