"""Resuming with what is not right: damaged or half-written checkpoints, another environment, others' controls."""

import shutil
from pathlib import Path

import pytest

from app.contracts.problems import UserError
from app.contracts.wire.events import WarningEvent
from tests.engine.harness import EngineHarness, StopAtStep, blobs, report_of
from tests.engine.jobs.interrupted_jobs import (
    BATCHES,
    COMBINATION,
    DISTILL,
    TRAIN,
    TRAINING,
    alone,
    harness_with_teachers,
    interrupted,
    split_rows,
    stop,
    whole,
)
from tests.engine.plain_training import others
from workers.engine.common.stop import Stopped
from workers.engine.training.checkpoints import folder as checkpoint_folder
from workers.engine.training.checkpoints.folder import CheckpointFolder

FILES = ["tensors.safetensors", "state.json", "manifest.json"]


pytestmark = pytest.mark.usefixtures("one_thread_again")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    return harness_with_teachers(tmp_path_factory.mktemp("shared"))


def checkpoints(harness: EngineHarness, job: str) -> list[Path]:
    """Oldest first."""
    return sorted((harness.folder / job / "checkpoints").glob("step-*"))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def said_of_damage(harness: EngineHarness) -> str:
    """The warning of the last run."""
    warnings = [event for event in harness.log.events if isinstance(event, WarningEvent)]
    return next(event.message for event in warnings if event.code == "checkpoint_damaged")


def same_bits(harness: EngineHarness, uninterrupted: str, resumed: str, attempt: int, *roles: str) -> None:
    for role in ("student", *roles):
        assert harness.digest(resumed, attempt, role) == harness.digest(uninterrupted, role=role)


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_byte_in_the_newest_checkpoint_sends_the_job_back_to_the_one_before(
    shared: EngineHarness, file: str
) -> None:
    job = f"flipped-{file}"
    whole(shared, COMBINATION, f"{job}-whole")
    stop(shared, COMBINATION, job, before=8, checkpoint_seconds=0.0)
    older, newest = checkpoints(shared, job)
    flip(newest / file, (newest / file).stat().st_size // 2)
    shared.run(COMBINATION, job, 2, checkpoint_seconds=0.0, **alone(shared, job))
    assert (older.name, newest.name) == ("step-00000007-a1", "step-00000008-a1")
    assert shared.log.checkpoints[0].step == 7
    assert "training continues from step 7" in said_of_damage(shared)
    same_bits(shared, f"{job}-whole", job, 2, "control")


def test_no_flipped_byte_of_any_file_is_ever_loaded(shared: EngineHarness, tmp_path: Path) -> None:
    """The step's own number in the manifest too: a wrong one would train on from another place of the stream."""
    stop(shared, TRAIN, "every-byte", before=8, checkpoint_seconds=0.0)
    kept = checkpoints(shared, "every-byte")[-1]
    place = tmp_path / kept.name
    for file in FILES:
        size = (kept / file).stat().st_size
        for at in range(0, size, 1 if file == "manifest.json" else 13):
            shutil.copytree(kept, place)
            flip(place / file, at)
            assert CheckpointFolder(tmp_path, 2).load() is None
            assert not place.exists()
    shutil.copytree(kept, place)
    found = CheckpointFolder(tmp_path, 2).load()
    assert found is not None
    assert found.step == 8


def test_damaged_checkpoints_take_no_good_ones_place(shared: EngineHarness) -> None:
    """Both are damaged and newer than all that the next attempt takes, which must stay all the same."""
    whole(shared, TRAIN, "both-whole")
    stop(shared, TRAIN, "both", before=8, checkpoint_seconds=0.0)
    for path in checkpoints(shared, "both"):
        flip(path / "state.json", 0)
    stop(shared, TRAIN, "both", before=4, attempt=2, checkpoint_seconds=0.0)
    message = "2 checkpoint(s) were damaged or of another format, and were removed: training starts again"
    assert message in said_of_damage(shared)
    assert [path.name for path in checkpoints(shared, "both")] == ["step-00000003-a2", "step-00000004-a2"]
    shared.run(TRAIN, "both", 3, checkpoint_seconds=0.0, **alone(shared, "both"))
    assert shared.log.checkpoints[0].step == 4
    same_bits(shared, "both-whole", "both", 3)


def test_a_checkpoint_of_another_format_is_removed_and_warned_of_like_a_damaged_one(
    shared: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of another version: intact on the disk, but its state may mean something else."""
    whole(shared, TRAIN, "format-whole")
    monkeypatch.setattr(checkpoint_folder, "FORMAT", checkpoint_folder.FORMAT - 1)
    stop(shared, TRAIN, "format", before=8, checkpoint_seconds=0.0)
    monkeypatch.undo()
    others = checkpoints(shared, "format")
    assert [path.name for path in others] == ["step-00000007-a1", "step-00000008-a1"]
    stop(shared, TRAIN, "format", before=2, attempt=2, checkpoint_seconds=0.0)
    message = "2 checkpoint(s) were damaged or of another format, and were removed: training starts again"
    assert message in said_of_damage(shared)
    assert not any(path.exists() for path in others)
    shared.run(TRAIN, "format", 3, checkpoint_seconds=0.0, **alone(shared, "format"))
    assert shared.log.checkpoints[0].step == 2
    assert "checkpoint_damaged" not in shared.log.warnings
    same_bits(shared, "format-whole", "format", 3)


@pytest.mark.parametrize("left", ["draft", "no-manifest", "empty", "cut"])
def test_a_half_written_checkpoint_is_ignored(shared: EngineHarness, left: str) -> None:
    job = f"half-{left}"
    whole(shared, TRAIN, f"{job}-whole")
    stop(shared, TRAIN, job, before=5)
    (good,) = checkpoints(shared, job)
    half = good.with_name(".draft-step-00000009-a1" if left == "draft" else "step-00000009-a1")
    shutil.copytree(good, half)
    if left in {"no-manifest", "draft"}:
        (half / "manifest.json").unlink()
    for file in FILES if left == "empty" else ["tensors.safetensors"] if left == "cut" else []:
        (half / file).write_bytes((half / file).read_bytes()[: 0 if left == "empty" else -1])
    shared.run(TRAIN, job, 2, checkpoint_seconds=0.0, **alone(shared, job))
    assert shared.log.checkpoints[0].step == 5
    same_bits(shared, f"{job}-whole", job, 2)


def test_other_threads_are_warned_of_and_in_the_report_of_every_later_attempt(shared: EngineHarness) -> None:
    stop(shared, TRAIN, "threads", before=1, threads=2)
    stop(shared, TRAIN, "threads", before=7, attempt=2, done=1)
    assert others(shared.log.warnings) == ["not_bit_exact"]
    report = report_of(shared.run(TRAIN, "threads", 3, **alone(shared, "threads")))
    assert others(shared.log.warnings) == []
    assert not report.bit_exact


def test_the_environment_of_an_attempt_that_took_no_step_counts_for_nothing(shared: EngineHarness) -> None:
    whole(shared, TRAIN, "fingerprint-whole")
    stop(shared, TRAIN, "fingerprint", before=3)
    with pytest.raises(Stopped):
        shared.run(TRAIN, "fingerprint", 2, StopAtStep(2), threads=2, **alone(shared, "fingerprint"))
    assert report_of(shared.run(TRAIN, "fingerprint", 3, **alone(shared, "fingerprint"))).bit_exact
    same_bits(shared, "fingerprint-whole", "fingerprint", 3)


def test_a_job_that_found_its_control_finds_it_again_though_the_cache_has_forgotten_it(shared: EngineHarness) -> None:
    cache = with_a_cached_control(shared, "forgetful")
    stop(shared, DISTILL, "forgetful", before=4, cached=True, cache_dir=cache)
    shutil.rmtree(Path(cache) / "controls")
    report = report_of(shared.run(DISTILL, "forgetful", 2, cache_dir=cache))
    assert report.control is not None
    assert report.control.cached
    same_bits(shared, "forgetful-first", "forgetful", 2, "control")


def test_a_job_that_found_its_control_goes_on_with_it_on_other_threads(shared: EngineHarness) -> None:
    cache = with_a_cached_control(shared, "moved")
    stop(shared, DISTILL, "moved", before=4, cached=True, cache_dir=cache)
    report = report_of(shared.run(DISTILL, "moved", 2, threads=2, cache_dir=cache))
    assert report.control is not None
    assert report.control.cached
    assert not report.bit_exact
    assert shared.digest("moved", 2, "control") == shared.digest("moved-first", role="control")


def test_a_job_whose_own_control_is_lost_with_the_cache_begins_again(shared: EngineHarness) -> None:
    """There is no control of the student's first steps to go on with: the same bits, from the beginning."""
    cache = with_a_cached_control(shared, "lost")
    stop(shared, DISTILL, "lost", before=4, cached=True, cache_dir=cache)
    for folder in (Path(cache), shared.folder / "lost" / "checkpoints"):
        shutil.rmtree(folder / "controls")
    report = report_of(shared.run(DISTILL, "lost", 2, cache_dir=cache))
    assert report.control is not None
    assert not report.control.cached
    same_bits(shared, "lost-first", "lost", 2, "control")


def with_a_cached_control(harness: EngineHarness, name: str) -> str:
    """A cache that holds the control of a job that has ended."""
    cache = str(harness.folder / f"{name}-cache")
    harness.run(DISTILL, f"{name}-first", cache_dir=cache)
    return cache


def test_a_job_that_trains_its_control_goes_on_with_that_one_when_another_job_offers_the_same(
    shared: EngineHarness,
) -> None:
    cache = str(shared.folder / "offered-cache")
    stop(shared, DISTILL, "offered", before=4, cache_dir=cache)
    shared.run(DISTILL, "offered-other", cache_dir=cache)
    report = report_of(shared.run(DISTILL, "offered", 2, cache_dir=cache))
    assert report.control is not None
    assert not report.control.cached
    same_bits(shared, "offered-other", "offered", 2, "control")


def test_a_control_that_was_trained_in_two_environments_is_not_offered_to_other_jobs(shared: EngineHarness) -> None:
    """Under the key of a fingerprint lie the bits of one run on it."""
    cache = str(shared.folder / "mixed-cache")
    stop(shared, DISTILL, "mixed", before=2, threads=2, cache_dir=cache)
    shared.run(DISTILL, "mixed", 2, cache_dir=cache)
    report = report_of(shared.run(DISTILL, "mixed-next", cache_dir=cache))
    assert report.control is not None
    assert not report.control.cached


@pytest.mark.parametrize("select_by", ["metric", "loss"])
def test_a_validation_score_that_is_not_finite_keeps_no_job_from_its_checkpoints(
    tmp_path: Path, select_by: str
) -> None:
    """JSON has no infinity: a state that holds one could not be written."""
    harness = harness_with_teachers(tmp_path)
    arrays = blobs()
    arrays["size"][split_rows(harness, "validation")[0]] = 1e30
    harness.dataset(arrays)
    spec = TRAIN | {"target": "size", "training": TRAINING | {"select_by": select_by}}
    whole(harness, spec, "whole")
    interrupted(harness, spec, "parts", BATCHES + 1)
    same_bits(harness, "whole", "parts", 2)


def test_a_job_that_diverges_after_a_resume_says_so_and_keeps_the_last_finite_checkpoint(shared: EngineHarness) -> None:
    wild = TRAIN | {"target": "size", "training": TRAINING | {"optimizer": "sgd", "learning_rate": 1e3}}
    stop(shared, wild, "wild", before=1)
    with pytest.raises(UserError) as caught:
        shared.run(wild, "wild", 2, **alone(shared, "wild"))
    assert caught.value.code == "diverged"
    assert [path.name for path in checkpoints(shared, "wild")] == ["step-00000001-a1"]
