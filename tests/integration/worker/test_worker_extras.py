"""Workers with and without the extra `vision`, and the measurement of a network in the real sandbox."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from app.contracts.specs.families.library import MeasuredTrunk, Timm
from app.contracts.specs.jobs import InspectJob
from app.contracts.states import JobState
from app.db.rows import DEFAULT_PROJECT, NetworkRow
from app.queue.inputs import networks
from tests.integration.worker.harness import WorkerHarness, command_of, eventually, threads_of
from workers.runtime.child.pool import DEFAULT_ENTRY
from workers.runtime.extras import installed_extras

NETWORK = Timm(family="timm", name="test_vit", input_shape=(3, 32, 32))


@pytest.fixture
async def harness(migrated_sqlite_url: str, tmp_path: Path) -> AsyncIterator[WorkerHarness]:
    harness = WorkerHarness(migrated_sqlite_url, tmp_path / "data", lease_seconds=60.0)
    yield harness
    await harness.close()


async def requested(harness: WorkerHarness) -> str:
    async with harness.database.write() as session:
        (job,) = await networks.request(session, [NETWORK], DEFAULT_PROJECT)
        return job


async def test_a_worker_without_the_extra_says_so_and_another_measures_the_network(
    harness: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    job = await requested(harness)
    async with harness.supervising(lanes=("inspect",), extras=frozenset()):
        row = await harness.until(job, lambda row: row.extra is not None)
        assert row.extra == "vision"
        assert (await harness.reaches(job, JobState.QUEUED)).crashes == 0
    assert "pip install 'stillhouse[vision]'" in caplog.text
    assert installed_extras() == {"vision", "text"}
    worker = harness.process(lanes=("inspect",), entry=DEFAULT_ENTRY)

    async def both_servers() -> bool:
        return len(worker.fork_servers()) == 2

    async def child_or_end() -> bool:
        return bool(worker.running_children()) or (await harness.row(job)).state is JobState.SUCCEEDED

    await eventually(both_servers)  # each has its own time to import its packages
    await eventually(child_or_end)
    ended = await harness.ends(job)
    servers = worker.fork_servers()
    assert sorted("preloaded" in command_of(pid) for pid in servers) == [False, True]
    assert [threads_of(pid) for pid in servers] == [1, 1], "forking is not safe beside other threads"
    assert ended.state is JobState.SUCCEEDED, ended.error
    async with harness.database.read() as session:
        (measured,) = (await session.scalars(select(NetworkRow.measured))).all()
    found = MeasuredTrunk.model_validate(measured, strict=False)
    assert found.classifier == "head"
    assert found.features == 64
    assert await requested_again(harness) == []


async def requested_again(harness: WorkerHarness) -> list[str]:
    async with harness.database.write() as session:
        return await networks.request(session, [NETWORK], DEFAULT_PROJECT)


async def test_inspections_of_networks_read_no_file_and_have_one_subject() -> None:
    assert InspectJob(network=NETWORK).network == NETWORK
    with pytest.raises(ValueError, match="one subject"):
        InspectJob(network=NETWORK, model="mdl_01890a5d-ac96-774b-bcce-b302099a8057")
