"""What the campaign looks for it finds: each of its checks fails where a promise is broken."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.db.clock import utcnow
from tests.faults.checks.job_outcomes import Hit, kept
from tests.faults.checks.leftovers import processes_in, stale_blobs, stale_files
from tests.faults.checks.slot_users import slots_given_twice
from tests.integration.worker.harness import WorkerHarness
from workers.runtime import locks


@pytest.fixture
async def harness(migrated_sqlite_url: str, tmp_path: Path) -> AsyncIterator[WorkerHarness]:
    harness = WorkerHarness(migrated_sqlite_url, tmp_path / "data", lease_seconds=30.0)
    yield harness
    await harness.close()


async def test_a_job_that_never_ends_is_lost_and_stuck(harness: WorkerHarness) -> None:
    job_id = await harness.submit("work")
    found = await kept(harness.database, [job_id], {job_id: ""}, [], 30.0)
    assert (found.lost, found.stuck, found.bit_exact, found.flawless) == (1, 1, None, False)


async def test_a_job_that_failed_is_lost_and_another_student_is_not_bit_exact(harness: WorkerHarness) -> None:
    async with harness.supervising():
        failed, other = await harness.submit("refuse"), await harness.submit("work")
        await harness.ends(failed)
        await harness.ends(other)
    found = await kept(harness.database, [failed, other], {failed: "", other: "another"}, [], 30.0)
    assert (found.lost, found.stuck, found.bit_exact) == (1, 0, False)


async def test_a_job_that_a_dead_worker_holds_past_lease_and_spare_time_is_stuck(harness: WorkerHarness) -> None:
    async with harness.supervising():
        job = await harness.ends(await harness.submit("work"))
    hit = Hit(job.id, 0, utcnow() - timedelta(seconds=100.0))
    for lease_seconds, stuck in ((30.0, 1), (300.0, 0)):
        assert (await kept(harness.database, [job.id], {job.id: ""}, [hit], lease_seconds)).stuck == stuck


async def test_folders_locks_drafts_and_bytes_that_are_left_are_seen(harness: WorkerHarness, tmp_path: Path) -> None:
    data = harness.settings.data_dir
    assert stale_files(data) == []
    (data / "jobs" / "job_1" / "checkpoints").mkdir(parents=True)
    (data / "cache" / "controls" / ".draft-a-1").mkdir(parents=True)
    os.close(locks.own(harness.paths.owner_lock("dead")))
    alive = locks.own(harness.paths.owner_lock("alive"))
    assert len(stale_files(data)) == 3
    os.close(alive)
    await harness.dataset()
    assert await stale_blobs(harness.database, data) == []
    stray = data / "blobs" / "ab" / "cdef"
    stray.parent.mkdir()
    stray.write_bytes(b"nobody's")
    assert await stale_blobs(harness.database, data) == ["bytes abcdef have no row"]


def test_a_process_with_a_file_of_the_data_directory_is_an_orphan(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=log)
    try:
        assert processes_in(tmp_path) == [running.pid]
    finally:
        running.communicate(b"\n")
    assert processes_in(tmp_path) == []


_CHILD = """
import sys
from pathlib import Path
from tests.faults.checks.slot_users import sole_user_of_slot
sole_user_of_slot(Path(sys.argv[1]))
print("looked", flush=True)
input()
"""


def test_a_child_records_that_another_has_its_slot(tmp_path: Path) -> None:
    """The second of two that inherited the lock of one slot."""
    attempt = tmp_path / "jobs" / "job_1" / "attempt-1"
    slot = locks.take(tmp_path / "locks" / "slot-cpu-0.lock")
    assert slot is not None
    command, children = [sys.executable, "-c", _CHILD, str(attempt)], []
    for seen in (0, 1):
        child = subprocess.Popen(
            command,
            pass_fds=[slot],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        children.append(child)
        out = child.stdout
        assert out is not None
        assert out.readline() == b"looked\n"
        assert len(slots_given_twice(tmp_path)) == seen
    for child in children:
        child.communicate(b"\n")
    os.close(slot)
