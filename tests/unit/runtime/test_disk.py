"""Room on a worker's disk: claims, promises, and the code of a full one."""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from app.contracts.resolving.footprint import disk_bytes
from app.contracts.specs.architectures import Mlp
from app.contracts.specs.jobs import InspectJob, TrainJob
from app.contracts.specs.training import TrainingSpec
from app.contracts.wire.orders import ExitCode
from app.storage.errors import StorageFull
from app.storage.space import JOBS_SHARE
from workers.runtime.disk.space import DiskSpace
from workers.runtime.disk.usage import bytes_below
from workers.runtime.supervisor.publishing import crash_error

DATASET = "ds_01890a5d-ac96-774b-bcce-b302099a8057"


def test_a_child_that_could_write_nothing_says_by_its_status_that_the_disk_is_full(tmp_path: Path) -> None:
    assert crash_error(ExitCode.DISK_FULL, tmp_path).code == "disk_full"
    assert crash_error(1, tmp_path).code == "crashed"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-signal.SIGABRT, "terminate called after throwing an instance of 'std::bad_alloc'"),
        (1, "libgomp: Thread creation failed: Resource temporarily unavailable"),
        (1, "OSError: [Errno 12] Cannot allocate memory"),
    ],
)
def test_a_process_that_ended_for_lack_of_memory_is_reported_so(status: int, words: str, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(f"in force: files\n{words}\n")
    error = crash_error(status, tmp_path)
    assert (error.code, error.error_class) == ("out_of_memory", "infrastructure")
    assert "STILLHOUSE_MEMORY_ROOM" in error.message
    (tmp_path / "log.txt").write_text(f"{words}\n" + "a later line\n" * 200)
    assert crash_error(status, tmp_path).code == "crashed"


def test_no_job_is_claimed_when_jobs_have_eaten_into_what_uploads_leave(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert DiskSpace(tmp_path, 0).has_room()
    assert DiskSpace(tmp_path, free * (JOBS_SHARE - 1)).has_room()
    assert not DiskSpace(tmp_path, free * (JOBS_SHARE + 1)).has_room()


async def test_what_is_promised_to_one_job_is_not_given_to_another(tmp_path: Path) -> None:
    """What the first has written of its share counts once; afterwards there is room again."""
    disk = DiskSpace(tmp_path, 0, wait_seconds=0.0)
    share = int(shutil.disk_usage(tmp_path).free * 0.6)
    async with disk.reserve(share, tmp_path / "one"):
        with pytest.raises(StorageFull, match="bytes wanted"):
            async with disk.reserve(share, tmp_path / "other"):
                raise AssertionError("promised twice")
    async with disk.reserve(share, tmp_path / "other"):
        pass


async def test_two_jobs_that_ask_at_once_are_not_promised_the_same_room(tmp_path: Path) -> None:
    disk = DiskSpace(tmp_path, 0, wait_seconds=0.0)
    share, both = int(shutil.disk_usage(tmp_path).free * 0.6), asyncio.Event()

    async def asked(folder: str) -> bool:
        try:
            async with disk.reserve(share, tmp_path / folder):
                await both.wait()
        except StorageFull:
            both.set()
            return False
        return True

    async with asyncio.timeout(20):
        assert sorted(await asyncio.gather(asked("one"), asked("other"))) == [False, True]


async def test_a_second_attempt_of_a_job_keeps_its_promise_when_the_first_ends(tmp_path: Path) -> None:
    """A job that was lost and claimed again by the same worker: both share a folder for a while, and its room."""
    disk = DiskSpace(tmp_path, 0, wait_seconds=0.0)
    share = int(shutil.disk_usage(tmp_path).free * 0.6)
    first, second = disk.reserve(share, tmp_path / "job"), disk.reserve(share, tmp_path / "job")
    await first.__aenter__()
    async with second:
        await first.__aexit__(None, None, None)
        with pytest.raises(StorageFull, match="bytes wanted"):
            async with disk.reserve(share, tmp_path / "other"):
                raise AssertionError("promised twice")


def test_a_folder_that_goes_while_its_bytes_are_counted_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child drops its older checkpoint, an earlier attempt its folder: no error of the job that asks for room."""
    scandir = os.scandir

    def dropping(path: str | Path) -> Any:
        if Path(path).name == "older":
            (tmp_path / "older" / "state.json").unlink()
            (tmp_path / "older").rmdir()
        return scandir(path)

    for name in ("older", "newest"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text("1234")
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", dropping)
        assert bytes_below(tmp_path) == 4


def test_what_a_job_will_write_is_known_from_its_spec() -> None:
    """24 · 3 numbers of 4 bytes: three checkpoints of weights, best weights and Adam's two; weights published twice."""
    model = Mlp(family="mlp", input_shape=(23,), hidden=(), outputs={"y": 3})
    job = TrainJob(kind="train", dataset=DATASET, model=model)
    assert disk_bytes(job) == 24 * 3 * 4 * (3 * 4 + 2)
    plain = job.model_copy(update={"training": TrainingSpec(optimizer="sgd", momentum=0.0)})
    assert disk_bytes(plain) == 24 * 3 * 4 * (3 * 2 + 2)
    assert disk_bytes(InspectJob(dataset=DATASET)) == 0
