"""The soft-target store: what its keys hold, damage, eviction, alignment."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.contracts.reports.report import TargetUse
from app.contracts.specs.jobs import DatasetRef, TeacherRef
from app.contracts.specs.stores import StoreSpec
from tests.engine.harness import DATASET, STUDENT, TEACHER, EngineHarness, StopAtStep, blobs, report_of
from tests.engine.losses.small_terms import CPU, class_target, kd_term, mlp, places, scores, supervised
from tests.engine.teachers.store_processes import NUMBERS, ROOM, SIZE, entries, fetched, numbers
from workers.engine.common.stop import Stopped
from workers.engine.data.joining import read_datasets
from workers.engine.data.rows.columns import Rows
from workers.engine.losses.term import TermInputs
from workers.engine.teachers.target_store import Packing, SoftTargetStore
from workers.engine.teachers.teachers import Teachers

DISTILL: dict[str, Any] = {
    "kind": "distill",
    "target": "label",
    "teachers": [{"model": TEACHER}],
    "student": STUDENT,
    "distillation": {"allow_chance_teacher": True},
    "training": {"epochs": 1, "batch_size": 64},
    "control": False,
}


# What an entry is of


def upload(harness: EngineHarness, seed: int = 0, **manifest: Any) -> None:
    """A teacher of four layers, two of which have the same shape."""
    network = mlp(6, 3, seed, hidden=(7, 7, 7))
    fields = {"architecture": network.architecture.model_dump(mode="json"), "outputs": {"label": {"kind": "class"}}}
    harness.uploaded(network.state_dict(), fields | manifest)


def use_of(harness: EngineHarness) -> tuple[TargetUse, Tensor]:
    """How the teacher's outputs come to a job on the data, and what they are."""
    order = harness.order(DISTILL)
    teachers = Teachers(order, read_datasets(order, [DatasetRef(dataset=DATASET)]), CPU, lambda: None, StoreSpec())
    values = teachers.outputs_of(TeacherRef(model=TEACHER, output="label")).numbers.clone()
    teachers.close()
    return teachers.uses[TEACHER], values


ARRAYS = blobs() | {"z": blobs(seed=3)["x"]}
OTHER_INPUT = {"inputs": {"x": {"kind": "array", "columns": ["z"]}}}
SWAP = {"layers.1": "layers.2", "layers.2": "layers.1"}
SPLITS = {"splits": {"fractions": {"train": 0.5, "test": 0.5}}, "name": "again", "metadata": {"by": "us"}}


@pytest.mark.parametrize(
    ("teacher", "arrays", "data", "hit"),
    [
        ({}, ARRAYS, {}, True),
        ({"name": "again", "metadata": {"by": "us"}}, ARRAYS, {}, True),
        ({}, ARRAYS, SPLITS | {"targets": {"label": {"kind": "class", "classes": 3}}}, True),
        ({"seed": 1}, ARRAYS, {}, False),
        ({"inputs": {"x": {"scale": 0.5}}}, ARRAYS, {}, False),
        ({"inputs": {"x": {"mean": 0.5}}}, ARRAYS, {}, False),
        ({"rename": SWAP}, ARRAYS, {}, False),
        ({}, ARRAYS | {"x": ARRAYS["x"] + 1.0}, {}, False),
        ({}, ARRAYS, OTHER_INPUT, False),
    ],
    ids=["same", "title", "splits", "weights", "scale", "mean", "rename", "data", "input"],
)
def test_the_key_holds_all_that_the_numbers_depend_on_and_nothing_else(
    harness: EngineHarness, teacher: dict[str, Any], arrays: Any, data: dict[str, Any], hit: bool
) -> None:
    """The same teacher and data make no pass at all; other bytes or other preprocessing make another entry."""
    harness.dataset(ARRAYS)
    upload(harness)
    first, before = use_of(harness)
    assert (first.store, first.passes) == ("miss", 1)
    harness.dataset(arrays, **data)
    upload(harness, **teacher)
    second, after = use_of(harness)
    assert (second.store, second.passes) == (("hit", 0) if hit else ("miss", 1))
    assert (second.key == first.key) == hit
    assert torch.equal(before, after) == hit


def test_entries_above_the_bound_stay_with_the_job(harness: EngineHarness) -> None:
    """240 rows of 3 numbers are 2880 bytes. A later attempt finds them there."""
    harness.dataset()
    upload(harness)
    shared, own = harness.folder / "cache" / "targets", harness.folder / "big" / "checkpoints" / "targets"
    harness.run(DISTILL, "big", cache_bytes=2879)
    assert not shared.exists()
    assert len(entries(own)) == 1
    (numbers_file,) = own.glob("*/*.f32")
    made = numbers_file.stat().st_mtime_ns
    again = report_of(harness.run(DISTILL, "big", attempt=2, cache_bytes=2879)).targets[0]
    assert (again.store, again.passes) == ("miss", 1), "of the job, whose first attempt made the pass"
    assert numbers_file.stat().st_mtime_ns == made
    harness.run(DISTILL, "fits", cache_bytes=2880)
    assert entries(shared) == entries(own)


def test_a_job_that_is_stopped_lets_go_of_its_entries(harness: EngineHarness) -> None:
    harness.dataset()
    upload(harness)
    with pytest.raises(Stopped):
        harness.run(DISTILL, "stopped", stop=StopAtStep(6))
    folder = harness.folder / "cache" / "targets"
    (mine,) = entries(folder)
    SoftTargetStore(folder, 2880).get(
        {"other": {"label": Packing(3)}}, 240, lambda: iter([{"label": torch.zeros(240, 3)}])
    )
    assert entries(folder) == {"other"} != {mine}


# Damage


@pytest.mark.parametrize("harm", ["a flipped byte", "a short file", "no manifest", "a manifest of another shape"])
def test_a_damaged_entry_is_found_and_computed_again(tmp_path: Path, harm: str) -> None:
    passes: list[float] = []
    fetched(SoftTargetStore(tmp_path, ROOM), "k", 0.0, passes)
    (file,) = (tmp_path / "k").glob("*.f32")
    data, manifest = bytearray(file.read_bytes()), tmp_path / "k" / "manifest.json"
    if harm == "a flipped byte":
        data[17] ^= 1
        file.write_bytes(data)
    elif harm == "a short file":
        file.write_bytes(data[:-4])
    elif harm == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text("[]")
    assert not fetched(SoftTargetStore(tmp_path, ROOM), "k", 0.0, passes).hit
    assert fetched(SoftTargetStore(tmp_path, ROOM), "k", 0.0, passes).hit
    assert passes == [0.0, 0.0]


def test_a_pass_that_gives_too_few_rows_leaves_no_entry(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        SoftTargetStore(tmp_path, ROOM).get({"k": {"label": Packing(3)}}, 1001, numbers(0.0))
    assert not fetched(SoftTargetStore(tmp_path, ROOM), "k", 0.0).hit


# Eviction


def test_eviction_keeps_within_the_bound_and_drops_the_least_recently_used(tmp_path: Path) -> None:
    def used(key: str) -> bool:
        for manifest in tmp_path.glob("*/manifest.json"):
            hour_before = manifest.stat().st_mtime - 3600.0
            os.utime(manifest, (hour_before, hour_before))
        store = SoftTargetStore(tmp_path, ROOM)
        hit = fetched(store, key, float(ord(key))).hit
        store.close()
        return hit

    assert [used(key) for key in "abab"] == [False, False, True, True]
    assert used("a")
    assert not used("c")
    assert entries(tmp_path) == {"a", "c"}, "b was used before a"
    assert [used(key) for key in "ca"] == [True, True]
    for key in "defg":
        assert not used(key)
        assert sum(file.stat().st_size for file in tmp_path.glob("*/*")) <= ROOM


def test_an_entry_in_use_is_never_evicted(tmp_path: Path) -> None:
    """It may be the oldest, and the bound too small for it beside the others."""
    job = SoftTargetStore(tmp_path, ROOM)
    held = fetched(job, "held", 5.0)
    for key in "abcd":
        other = SoftTargetStore(tmp_path, ROOM)
        fetched(other, key, float(ord(key)))
        other.close()
        assert "held" in entries(tmp_path)
    label = held.outputs["label"]
    assert isinstance(label, torch.Tensor)
    assert torch.equal(label, NUMBERS + 5.0)
    job.close()
    fetched(SoftTargetStore(tmp_path, SIZE), "e", 0.0)
    assert entries(tmp_path) == {"e"}


# Alignment


def test_a_row_meets_its_own_target_in_whatever_order_it_comes() -> None:
    """Cache alignment: targets belong to rows, not to places in a batch."""
    outputs, teacher = scores(50, 4, seed=1), scores(50, 4, seed=2)
    target = class_target([row % 5 - 1 for row in range(50)], 4)
    shuffled = torch.randperm(50, generator=torch.Generator().manual_seed(1))[:31]
    for term in (kd_term(teacher, teacher.flip(1)), supervised(target)):
        straight = term.losses(TermInputs(outputs), places(50))
        assert torch.equal(term.losses(TermInputs(outputs[shuffled]), Rows.on(CPU, shuffled)), straight[shuffled])
        assert len(set(straight.tolist())) > 30
