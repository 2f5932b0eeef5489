"""Interrupted equals uninterrupted, bit for bit: the SHA-256 of student and control, and every metric point."""

from pathlib import Path
from typing import Any

import pytest

from app.contracts.wire.events import PhaseEvent
from tests.engine.harness import EngineHarness, StopAtStep, blobs, report_of
from tests.engine.jobs.interrupted_jobs import (
    BATCHES,
    COMBINATION,
    DISTILL,
    MULTITASK,
    PCGRAD,
    TRAIN,
    TRAINING,
    alone,
    harness_with_teachers,
    interrupted,
    points,
    split_rows,
    stop,
    whole,
)
from tests.exhaustive import sample
from workers.engine.common.stop import Stopped, StopReason

LAST = 2 * BATCHES - 1
STEPS = (0, 1, BATCHES - 1, BATCHES, BATCHES + 1, LAST)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    """Data and teachers of all jobs of this file; each job has a name of its own."""
    return harness_with_teachers(tmp_path_factory.mktemp("shared"))


def trained(**training: Any) -> dict[str, Any]:
    return TRAIN | {"training": TRAINING | training}


def of_model(**model: Any) -> dict[str, Any]:
    return TRAIN | {"model": TRAIN["model"] | model}


JOBS: dict[str, dict[str, Any]] = {
    "sgd": trained(optimizer="sgd", momentum=0.0),
    "momentum-and-steps": trained(optimizer="sgd", momentum=0.9, schedule="step", weight_decay=0.01),
    "adam-one-cycle": trained(optimizer="adam", schedule="one_cycle", warmup=3, clip_norm=0.5, label_smoothing=0.1),
    "adamw-cosine": trained(optimizer="adamw", schedule="cosine", weight_decay=0.1),
    "select-by-loss": trained(select_by="loss"),
    "select-last": trained(select_by="last"),
    "micro-batches": trained(micro_batch_size=10) | {"model": TRAIN["model"] | {"dropout": 0.3}},
    "steps-inside-an-epoch": trained(epochs=None, steps=LAST),
    "early-stopping": trained(epochs=9, learning_rate=0.5, early_stopping={"patience": 1}),
    "plateau": DISTILL
    | {"training": TRAINING | {"epochs": 5, "learning_rate": 0.3, "schedule": {"kind": "plateau", "patience": 0}}},
    "dropout": of_model(dropout=0.4, hidden=[8, 8]),
    "batch-norm": of_model(normalization="batch", dropout=0.1),
    "layer-norm": of_model(normalization="layer"),
    "distill": DISTILL,
    "distill-with-dropout": DISTILL | {"student": DISTILL["student"] | {"dropout": 0.3}},
    "multitask-fixed": MULTITASK,
    "multitask-fixed-r": MULTITASK | {"relation": PCGRAD["relation"]},
    "multitask-pcgrad-r": MULTITASK | PCGRAD,
    "multitask-pcgrad-sgd": MULTITASK | PCGRAD | {"training": TRAINING | {"optimizer": "sgd", "micro_batch_size": 7}},
    "combination": COMBINATION,
}


KEPT = (
    "momentum-and-steps",
    "adam-one-cycle",
    "micro-batches",
    "steps-inside-an-epoch",
    "early-stopping",
    "plateau",
    "batch-norm",
    "distill-with-dropout",
    "multitask-pcgrad-sgd",
    "combination",
)


def same_digests(harness: EngineHarness, uninterrupted: str, resumed: str, attempt: int) -> None:
    assert harness.digest(resumed, attempt) == harness.digest(uninterrupted)
    control = harness.outputs(uninterrupted) / "control.safetensors"
    assert (harness.outputs(resumed, attempt) / "control.safetensors").exists() == control.exists()
    if control.exists():
        assert harness.digest(resumed, attempt, "control") == harness.digest(uninterrupted, role="control")


@pytest.mark.parametrize("name", sample(JOBS, KEPT))
def test_a_job_interrupted_twice_gives_the_student_and_control_of_one_that_ran_through(
    shared: EngineHarness, name: str
) -> None:
    """Once in the first epoch with one step's state to keep, once in the middle of the second."""
    spec = JOBS[name]
    whole(shared, spec, f"{name}-whole")
    uninterrupted = points(shared)
    report = report_of(interrupted(shared, spec, f"{name}-parts", 1, BATCHES + 2))
    same_digests(shared, f"{name}-whole", f"{name}-parts", attempt=3)
    assert report.bit_exact
    assert report.attempts == 3
    assert report.control is None or not report.control.cached
    later = [point for point in uninterrupted if point[1] > BATCHES + 2]
    assert points(shared) == later


@pytest.mark.parametrize(
    ("name", "before"),
    sample(
        [(name, before) for name in ("combination", "batch-norm") for before in STEPS],
        [*[("combination", before) for before in STEPS], ("batch-norm", BATCHES)],
    ),
)
def test_wherever_it_is_interrupted_the_result_is_the_same(shared: EngineHarness, name: str, before: int) -> None:
    """Before the first step, around the end of an epoch, before the last step."""
    reference = f"{name}-wherever"
    if not shared.outputs(reference).exists():
        whole(shared, JOBS[name], reference)
    interrupted(shared, JOBS[name], f"{reference}-{before}", before)
    same_digests(shared, reference, f"{reference}-{before}", attempt=2)


@pytest.mark.parametrize("reason", ["drain", "pause", "cancel"])
def test_the_reason_of_a_stop_is_handed_on_and_a_checkpoint_lies_on_disk(
    shared: EngineHarness, reason: StopReason
) -> None:
    stop(shared, TRAIN, reason, before=4, reason=reason)
    kept = shared.folder / reason / "checkpoints" / shared.log.checkpoints[-1].name
    assert {path.name for path in kept.iterdir()} == {"tensors.safetensors", "state.json", "manifest.json"}


@pytest.mark.parametrize("polls", [0, 1, 2])
def test_a_stop_before_the_first_step_leaves_no_checkpoint_and_the_next_attempt_begins(
    shared: EngineHarness, polls: int
) -> None:
    job = f"early-{polls}"
    with pytest.raises(Stopped):
        shared.run(TRAIN, job, 1, StopAtStep(polls))
    assert not shared.log.checkpoints
    shared.run(TRAIN, job, 2)
    whole(shared, TRAIN, f"{job}-whole")
    same_digests(shared, f"{job}-whole", job, attempt=2)


def test_a_stop_after_the_last_step_loses_no_bit_either(shared: EngineHarness) -> None:
    """In evaluation and export no checkpoint is taken: the attempt after it goes on from the last one."""
    whole(shared, TRAIN, "finish-whole")
    stop(shared, TRAIN, "finish", before=5)
    with pytest.raises(Stopped):
        shared.run(TRAIN, "finish", 2, StopAtStep(3 + LAST - 5 + 1), **alone(shared, "finish"))
    assert not shared.log.checkpoints
    shared.run(TRAIN, "finish", 3, **alone(shared, "finish"))
    same_digests(shared, "finish-whole", "finish", attempt=3)


class Killed(Exception):
    """No one told the engine."""


class KillAt:
    """Ends a run without a word, between two steps."""

    def __init__(self, polls: int) -> None:
        self._left = polls

    def requested(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed


def test_a_job_killed_without_a_word_goes_on_from_its_last_checkpoint(shared: EngineHarness) -> None:
    """Checkpoints by time: what was trained after the last one is trained again, to the same bits."""
    whole(shared, COMBINATION, "killed-whole")
    with pytest.raises(Killed):
        shared.run(COMBINATION, "killed", 1, KillAt(5 + 8), checkpoint_seconds=0.0, **alone(shared, "killed"))
    taken = [event.step for event in shared.log.checkpoints]
    assert taken == list(range(8))
    shared.run(COMBINATION, "killed", 2, checkpoint_seconds=0.0, **alone(shared, "killed"))
    assert [event.step for event in shared.log.checkpoints] == list(range(7, LAST + 1))
    same_digests(shared, "killed-whole", "killed", attempt=2)


def test_the_series_of_all_attempts_joined_are_those_of_one_run(shared: EngineHarness) -> None:
    whole(shared, COMBINATION, "series-whole")
    expected = points(shared)
    joined = []
    for attempt, (done, before) in enumerate([(0, 3), (3, BATCHES), (BATCHES, LAST)], start=1):
        stop(shared, COMBINATION, "series", before=before, attempt=attempt, done=done)
        joined += points(shared)
    shared.run(COMBINATION, "series", 4, **alone(shared, "series"))
    joined += points(shared)
    assert sorted(joined, key=str) == sorted(expected, key=str)
    assert len({point[:2] for point in joined}) == len(joined)
    steps = [step for series, step, _, _ in joined if series == "train/label/kd"]
    assert steps == list(range(1, LAST + 2))


def test_a_window_of_steps_that_is_open_at_a_stop_is_closed_by_the_next_attempt(shared: EngineHarness) -> None:
    """Of a long job each point is the mean of a window of steps: here of two, and the stop comes after the first."""
    long = TRAIN | {"training": {"steps": 1000, "batch_size": 42, "learning_rate": 1e-3, "select_by": "last"}}
    whole(shared, long, "window-whole")
    expected = [point for point in points(shared) if point[0] == "train/loss"]
    assert [step for _, step, _, _ in expected] == list(range(2, 1001, 2))
    stop(shared, long, "window", before=501)
    joined = points(shared)
    shared.run(long, "window", 2, **alone(shared, "window"))
    joined += points(shared)
    assert [point for point in joined if point[0] == "train/loss"] == expected


def test_a_member_that_stopped_early_stays_stopped_while_the_control_goes_on(tmp_path: Path) -> None:
    """The student is judged by its teacher and gains nothing; the control has no label to be judged by.

    The first stop comes when one epoch of patience is gone, the second when the student has stopped.
    """
    harness = harness_with_teachers(tmp_path)
    arrays = blobs()
    arrays["label"][split_rows(harness, "validation")] = -1
    harness.dataset(arrays)
    training = TRAINING | {"epochs": 5, "learning_rate": 1e-30, "early_stopping": {"patience": 2}}
    spec = DISTILL | {"training": training}
    whole(harness, spec, "whole")
    report = report_of(interrupted(harness, spec, "parts", 2 * BATCHES + 1, 4 * BATCHES))
    assert report.control is not None
    assert (report.student.steps, report.control.steps) == (3 * BATCHES, 5 * BATCHES)
    same_digests(harness, "whole", "parts", attempt=3)


def test_a_convnet_with_batch_norm_a_late_task_and_momentum_resumes(tmp_path: Path) -> None:
    arrays = blobs(features=16)
    arrays["x"] = arrays["x"].reshape(-1, 1, 4, 4)
    arrays["side"][::3] = -1
    harness = EngineHarness(tmp_path)
    harness.dataset(arrays)
    student = {"family": "convnet", "channels": [3], "hidden": [6], "dropout": 0.2}
    training = TRAINING | {"optimizer": "sgd", "batch_size": 8}
    spec = MULTITASK | PCGRAD | {"student": student, "training": training}
    whole(harness, spec, "whole")
    interrupted(harness, spec, "parts", 1, 21, 30)
    same_digests(harness, "whole", "parts", attempt=4)


class StopInEvaluating:
    """Asks to stop once training is over."""

    def __init__(self, harness: EngineHarness) -> None:
        self._harness = harness

    def requested(self) -> StopReason | None:
        phases = [event.phase for event in self._harness.log.events if isinstance(event, PhaseEvent)]
        return "pause" if "evaluating" in phases else None


@pytest.mark.parametrize("name", ["distill", "early-stopping", "combination"])
def test_a_stop_after_training_costs_none_of_it(
    shared: EngineHarness, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    job, spec = f"after-{name}", JOBS[name]
    whole(shared, spec, f"{job}-whole")
    assert shared.log.checkpoints == []  # a moment's training is not worth a file
    monkeypatch.setattr("workers.engine.training.loop._WORTH_SECONDS", 0.0)
    with pytest.raises(Stopped):
        shared.run(spec, job, 1, StopInEvaluating(shared), **alone(shared, job))
    assert len(shared.log.checkpoints) == 1
    shared.run(spec, job, 2, **alone(shared, job))
    assert points(shared) == []
    same_digests(shared, f"{job}-whole", job, 2)
