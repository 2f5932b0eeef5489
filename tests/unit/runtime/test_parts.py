"""The runtime's small parts: locks, seats, spools, logs, caches, GPUs' names."""

import os
import threading
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.contracts.wire.events import PhaseEvent, WarningEvent
from app.contracts.wire.orders import FailureOutcome
from workers.runtime import health, locks
from workers.runtime.child.spool import MOST_BYTES, Spool
from workers.runtime.child.supervisor_link import Events, failure, write_outcome
from workers.runtime.clock import host_clock
from workers.runtime.paths import Paths
from workers.runtime.retention import cached_inputs, crash_logs
from workers.runtime.supervisor import devices
from workers.runtime.supervisor.publishing import crash_error, read_outcome
from workers.runtime.supervisor.slots import SlotNames, taken_slots


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def test_a_lock_is_free_once_all_its_copies_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    assert not locks.is_free(path)  # it was never held, so no process can be dead
    held = locks.take(path)
    assert held is not None
    copy = os.dup(held)
    os.close(held)
    assert locks.take(path) is None
    assert not locks.is_free(path)
    os.close(copy)
    assert locks.is_free(path)


def test_a_lock_whose_file_is_removed_while_it_is_taken_is_taken_anew(tmp_path: Path) -> None:
    """A process that removes free locks may have checked the file before its owner locked it."""
    path, owned = tmp_path / "owner-a.lock", list[int]()
    remover = locks.take(path)
    assert remover is not None
    owner = threading.Thread(target=lambda: owned.append(locks.own(path)))
    owner.start()
    path.unlink()
    os.close(remover)
    owner.join()
    assert locks.take(path) is None  # the file that has the name is the one that is held
    os.close(owned[0])
    assert locks.is_free(path)


def test_only_a_free_lock_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    held = locks.own(path)
    locks.remove_free(path)
    assert path.exists()
    os.close(held)
    locks.remove_free(path)
    assert not path.exists()


def test_seats_of_live_processes_differ_and_those_of_dead_ones_come_free(paths: Paths) -> None:
    first, second = SlotNames(paths), SlotNames(paths)
    assert [first.take("cpu"), first.take("cpu"), second.take("cpu"), first.take("inspect")] == [
        "cpu-0",
        "cpu-1",
        "cpu-2",
        "inspect-0",
    ]
    first.release()
    assert second.take("cpu") == "cpu-0"
    second.release()


def test_slots_follow_lanes(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with taken_slots(paths, 2, {"train", "inspect"}) as slots:
        assert [(slot.name, slot.lane, slot.device) for slot in slots] == [
            ("cpu-0", "train", "cpu"),
            ("cpu-1", "train", "cpu"),
            ("inspect-0", "inspect", "cpu"),
            ("inspect-1", "inspect", "cpu"),
        ]
        assert all(slot.has_room() for slot in slots)
    with taken_slots(paths, 0, {"train", "inspect"}) as slots:
        assert {slot.lane for slot in slots} == {"inspect"}
    with taken_slots(paths, 1, {"train"}) as slots:
        assert [slot.name for slot in slots] == ["cpu-0"]


CARDS = ["GPU-aa11", "GPU-ab22", "MIG-cc33"]


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        (None, CARDS),
        ("", []),
        ("-1", []),
        ("1", ["GPU-ab22"]),
        ("2,0", ["MIG-cc33", "GPU-aa11"]),
        ("0,9,1", ["GPU-aa11"]),
        ("GPU-ab", ["GPU-ab22"]),
        ("GPU-a", []),
        (" MIG-cc33 , 0", ["MIG-cc33", "GPU-aa11"]),
    ],
)
def test_visible_gpus_are_those_that_cuda_would_see(wish: str | None, found: list[str]) -> None:
    assert devices.visible(CARDS, wish) == found


def test_a_gpu_that_cannot_be_asked_has_no_room() -> None:
    assert not devices.has_room("GPU-that-is-not-there")


def test_a_spool_gives_whole_lines_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "events.jsonl")
    assert spool.read() is None
    with closing(Events(tmp_path)) as events:
        events.emit(PhaseEvent(phase="loading"))
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"type": "warning", "code": "a", ')
    assert spool.read() == [PhaseEvent(phase="loading")]
    assert spool.read() is None
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'"message": "b"}\n')
    assert spool.read() == [WarningEvent(code="a", message="b")]


def test_a_line_without_end_does_not_stop_the_spool(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * (MOST_BYTES + 10) + b"\n")
    with closing(Events(tmp_path)) as events:
        events.emit(PhaseEvent(phase="training"))
    spool = Spool(path)
    assert spool.read() == []
    assert spool.read() == [PhaseEvent(phase="training")]
    assert spool.read() is None


def test_an_outcome_is_whole_or_absent(tmp_path: Path) -> None:
    assert read_outcome(tmp_path) is None
    (tmp_path / "outcome.json").write_text('{"type": "failure", "err')
    assert read_outcome(tmp_path) is None
    write_outcome(tmp_path, failure("teacher_mismatch", "user", "no"))
    outcome = read_outcome(tmp_path)
    assert isinstance(outcome, FailureOutcome)
    assert (outcome.error.code, outcome.error.error_class) == ("teacher_mismatch", "user")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outcome.json"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (-9, "SIGKILL: it was killed, most often by the kernel because memory ran out"),
        (-11, "SIGSEGV"),
        (-14, "SIGALRM: its lease could not be renewed in time"),
        (-24, "SIGXCPU: it used more processor time than allowed"),
        (7, "exited with status 7"),
        (0, "exited without an outcome"),
    ],
)
def test_a_crash_is_named_by_what_ended_it(tmp_path: Path, status: int, expected: str) -> None:
    error = crash_error(status, tmp_path)
    assert error.message.endswith(expected)
    assert (error.code, error.error_class) == ("crashed", "infrastructure")


def test_only_the_end_of_the_newest_logs_is_kept(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash_logs, "KEPT_LOGS", 3)
    for number in range(5):
        folder = paths.attempt(f"job_{number}", 1)
        folder.mkdir(parents=True)
        (folder / "log.txt").write_bytes(b"-" * crash_logs.LOG_BYTES + b"the end")
        crash_logs.keep_log(paths, f"job_{number}", 1)
        os.utime(paths.logs / f"job_{number}-attempt-1.txt", (number, number))
    kept = sorted(path.name for path in paths.logs.iterdir())
    assert kept == [f"job_{number}-attempt-1.txt" for number in (2, 3, 4)]
    assert all(path.stat().st_size == crash_logs.LOG_BYTES for path in paths.logs.iterdir())
    assert (paths.logs / kept[-1]).read_bytes().endswith(b"the end")


def test_a_log_that_another_worker_removes_meanwhile_is_passed_over(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.attempt("job_1", 1).mkdir(parents=True)
    (paths.attempt("job_1", 1) / "log.txt").write_bytes(b"the end")
    paths.logs.mkdir()
    (paths.logs / "job_0-attempt-1.txt").write_bytes(b"older")
    original = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:
        yield from original(folder)
        yield paths.logs / "job_gone-attempt-1.txt"

    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(crash_logs, "KEPT_LOGS", 1)
    crash_logs.keep_log(paths, "job_1", 1)
    assert [path.name for path in original(paths.logs)] == ["job_1-attempt-1.txt"]


def test_inputs_are_pruned_longest_unused_first_but_never_what_is_needed(paths: Paths) -> None:
    paths.inputs.mkdir(parents=True)
    files = [paths.inputs / name for name in "abcde"]
    for age, file in enumerate(files):
        file.write_bytes(b"x" * 100)
        os.utime(file, (age, age))  # all of them long ago; `a` the longest
    os.utime(files[1])  # used just now
    (paths.root / "blob").hardlink_to(files[3])  # a link to the store's own file
    _prune(paths, 300, {files[0]})
    assert sorted(path.name for path in paths.inputs.iterdir()) == ["a", "b", "d", "e"]
    _prune(paths, 0, ())
    assert sorted(path.name for path in paths.inputs.iterdir()) == ["b", "d"]


def _prune(paths: Paths, bound: int, needed: Collection[Path]) -> None:
    for each in cached_inputs.beyond_limit(paths, bound, needed):
        each.remove()


def test_an_input_that_is_used_or_fetched_after_it_was_listed_stays(paths: Paths) -> None:
    paths.inputs.mkdir(parents=True)
    used, linked, held, free = (paths.inputs / name for name in ("a", "b", "c", "d"))
    for file in (used, linked, held, free):
        file.write_bytes(b"x")
        os.utime(file, (0, 0))
    listed = cached_inputs.beyond_limit(paths, 0, ())
    os.utime(used)
    (paths.root / "blob").hardlink_to(linked)
    lock = locks.take(paths.input_lock(held.name))
    assert lock is not None
    for each in listed:
        each.remove()
    os.close(lock)
    assert sorted(path.name for path in paths.inputs.iterdir()) == ["a", "b", "c"]


def test_what_a_killed_fetch_left_goes_and_what_is_being_fetched_stays(paths: Paths) -> None:
    paths.inputs.mkdir(parents=True)
    dead, alive = paths.inputs / f".{'a' * 64}.1.part", paths.inputs / f".{'b' * 64}.2.part"
    for part in (dead, alive):
        part.write_bytes(b"half")
    listed = cached_inputs.killed_downloads(paths)
    lock = locks.take(paths.input_lock("b" * 64))
    assert lock is not None
    assert [(each.name, each.bytes) for each in cached_inputs.killed_downloads(paths)] == [(dead.name, 4)]
    assert {each.name for each in listed} == {dead.name, alive.name}
    for each in listed:
        each.remove()
    os.close(lock)
    assert list(paths.inputs.iterdir()) == [alive]


def test_a_worker_is_healthy_while_it_shows_that_it_lives(paths: Paths) -> None:
    assert health.seconds_since_heartbeat(paths) == float("inf")
    paths.locks.mkdir()
    health.write_heartbeat(paths)
    assert health.seconds_since_heartbeat(paths) < health.HEARTBEAT_SECONDS
    os.utime(paths.heartbeat, (0, 0))  # the wall's time says nothing
    assert health.seconds_since_heartbeat(paths) < health.HEARTBEAT_SECONDS
    paths.heartbeat.write_text(str(host_clock() - 3600))
    assert health.seconds_since_heartbeat(paths) > 3 * health.HEARTBEAT_SECONDS
    paths.heartbeat.write_text(str(host_clock() + 3600))  # from before the machine was booted
    assert health.seconds_since_heartbeat(paths) == float("inf")
    health.write_heartbeat(paths)
    assert health.seconds_since_heartbeat(paths) < health.HEARTBEAT_SECONDS


def test_the_hosts_clock_goes_forward() -> None:
    first = host_clock()
    assert host_clock() >= first > 0
