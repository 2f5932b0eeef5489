"""The soft-target store under several processes and threads: computed once, waited for briefly, evicted in order."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.engine.teachers.store_processes import ROOM, SIZE, entries, fetched, processes
from workers.engine.teachers.target_store import Outputs, Packing, SoftTargetStore


def test_two_processes_that_race_compute_once_and_use_it_side_by_side(tmp_path: Path) -> None:
    """The second waits for the numbers, and not for the end of the job that computed them."""
    with processes(tmp_path, 2) as (first, second):
        first.go_on()
        assert first.next_message() == "computing"
        second.go_on()
        assert second.sends_nothing()
        first.go_on()
        assert first.next_message() == "computed [7.0]"
        assert second.next_message() == "hit [7.0]"
        assert entries(tmp_path) == {"k"}


def test_a_half_written_draft_of_a_killed_process_is_ignored(tmp_path: Path) -> None:
    with processes(tmp_path, 1) as (writer,):
        writer.go_on()
        assert writer.next_message() == "computing"
        writer.kill()
        assert len(entries(tmp_path)) == 1
        assert not fetched(SoftTargetStore(tmp_path, ROOM), "k", 0.0).hit
    assert entries(tmp_path) == {"k"}


def test_jobs_that_share_teachers_in_another_order_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Each holds what the other asks for next, as jobs do until they end."""
    one, two = SoftTargetStore(tmp_path, ROOM), SoftTargetStore(tmp_path, ROOM)
    fetched(one, "a", 0.0)
    fetched(two, "b", 1.0)
    hits: list[bool] = []
    asks = [(one, "b", 1.0), (two, "a", 0.0)]
    threads = [threading.Thread(target=lambda ask=ask: hits.append(fetched(*ask).hit), daemon=True) for ask in asks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30.0)
    assert hits == [True, True]


def test_many_that_evict_at_once_do_not_stumble_over_each_other(tmp_path: Path) -> None:
    """Entries, and temporary folders about to be published, are removed or in use at any time of another's eviction."""
    done: list[int] = []

    def work(number: int) -> None:
        for turn in range(40):
            store = SoftTargetStore(tmp_path, ROOM)
            fetched(store, f"k{(turn * 3 + number * 5) % 11}", float((turn * 3 + number * 5) % 11))
            store.close()
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1, 2, 3]


def test_a_temporary_entry_is_evicted_once_its_writer_is_dead_and_never_before(tmp_path: Path) -> None:
    def blocks() -> Iterator[Outputs]:
        yield {"label": torch.zeros(700, 3)}
        dead = next(path for path in tmp_path.iterdir() if path.is_dir())
        shutil.copytree(dead, dead.with_name(dead.name.replace("slow", "dead")))
        other = SoftTargetStore(tmp_path, SIZE)
        fetched(other, "quick", 1.0)
        other.close()
        yield {"label": torch.zeros(300, 3)}

    found = SoftTargetStore(tmp_path, SIZE).get({"slow": {"label": Packing(3)}}, 1000, blocks)
    assert not found.hit
    assert entries(tmp_path) == {"quick", "slow"}
