"""The cache of trained controls: what a killed process left half-written goes, what another is writing stays."""

import os
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.harness import EngineHarness, report_of
from tests.engine.jobs.distillation.trained_jobs import DISTILL, add_trained_teacher
from workers.engine.common import files
from workers.engine.common.cache_folder import STALE_SECONDS
from workers.engine.jobs.runs import control_cache as controls
from workers.engine.jobs.runs.control_cache import ControlCache, StoredControl


def test_temporary_files_of_dead_processes_are_removed_and_those_of_live_ones_stay(tmp_path: Path) -> None:
    cache = ControlCache(tmp_path)
    dead, alive = tmp_path / ".draft-a-1", tmp_path / ".draft-b-2"
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(b"half")
    long_ago = time.time() - STALE_SECONDS - 60.0
    os.utime(dead, (long_ago, long_ago))
    cache.try_store("c", StoredControl({"weight": torch.zeros(2)}, epoch=1, steps=3))
    assert not dead.exists()
    assert alive.exists()
    assert cache.find("c") is not None


def _keep(folder: Path, key: str) -> bool:
    return ControlCache(folder).try_store(key, StoredControl({"weight": torch.zeros(2000)}, epoch=1, steps=3))


def test_an_entry_that_another_process_drops_while_it_is_read_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verified_manifest(place: Path) -> dict[str, Any] | None:
        found = files.verified_manifest(place)
        shutil.rmtree(place)
        return found

    assert _keep(tmp_path, "a")
    monkeypatch.setattr(controls, "verified_manifest", verified_manifest)
    assert ControlCache(tmp_path).find("a") is None


def test_an_entry_that_another_process_drops_while_the_oldest_are_looked_for_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls, "MAX_ENTRIES", 2)
    is_dir = Path.is_dir

    def dropping(path: Path) -> bool:
        found = is_dir(path)
        if path.name == "gone":
            shutil.rmtree(path, ignore_errors=True)
        return found

    assert _keep(tmp_path, "gone")
    assert _keep(tmp_path, "b")
    monkeypatch.setattr(Path, "is_dir", dropping)
    (tmp_path / "named-only").symlink_to(tmp_path / "nowhere")  # as a folder that is listed and gone when looked at
    assert _keep(tmp_path, "c")
    assert ControlCache(tmp_path).find("c") is not None


def test_a_disk_that_has_no_room_keeps_no_control_and_ends_no_job(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        kept = _keep(tmp_path / "controls", "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not kept
    assert "could not be stored" in caplog.text
    assert list((tmp_path / "controls").iterdir()) == []
    assert ControlCache(tmp_path / "controls").find("a") is None
    assert _keep(tmp_path / "controls", "a")
    assert ControlCache(tmp_path / "controls").find("a") is not None


def test_a_control_that_was_used_stays_where_a_newer_one_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Use is noted without setting a file's times, which is denied to a job's process."""
    monkeypatch.setattr(controls, "MAX_ENTRIES", 2)
    for position, key in enumerate(("used", "unused")):
        assert _keep(tmp_path, key)
        hour_before = time.time() - 3600 + position
        os.utime(tmp_path / key / files.MANIFEST, (hour_before, hour_before))
    with monkeypatch.context() as patched:
        patched.delattr(os, "utime")
        assert ControlCache(tmp_path).find("used") is not None
    assert ControlCache(tmp_path).find("used") is not None  # and is undamaged
    assert _keep(tmp_path, "new")
    assert {path.name for path in tmp_path.iterdir()} == {"used", "new"}


def test_jobs_that_differ_in_what_follows_from_their_teachers_share_a_control(harness: EngineHarness) -> None:
    """A larger teacher has threads of its own, and one of images an order in memory that an mlp does not have."""
    add_trained_teacher(harness)
    spec = {**DISTILL, "control": True}
    changes: list[dict[str, Any]] = [{}, {"teacher_threads": 2}, {"memory_format": "channels_last"}]
    reports = [
        report_of(harness.run({**spec, "training": {**spec["training"], **each}}, f"job-{i}"))
        for i, each in enumerate(changes)
    ]
    controls = [report.control for report in reports if report.control is not None]
    assert [each.cached for each in controls] == [False, True, True]
