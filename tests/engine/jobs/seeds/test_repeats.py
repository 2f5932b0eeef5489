"""Repeats, mutual learning, controls with smoothed labels."""

from typing import Any

import numpy as np
import pytest

from tests.engine.harness import EngineHarness, StopAtStep, blobs, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING, add_teachers, job, soft
from workers.engine.common.stop import Stopped

Json = dict[str, Any]


def test_repeats_are_the_jobs_of_further_seeds(harness: EngineHarness) -> None:
    add_teachers(harness)
    report = report_of(harness.run(soft({"method": "kd"}, repeats=3), "three"))
    verdict = report.verdict["label"]
    assert verdict.repeats == 3
    scores: list[float] = []
    for i in range(3):
        seeded = soft({"method": "kd"}, training={**TRAINING, "seed": i})
        single = report_of(harness.run(seeded, f"seed{i}"))
        assert verdict.students[i] == pytest.approx(single.student.tasks["label"]["accuracy"])
        assert single.control is not None
        assert verdict.controls[i] == pytest.approx(single.control.tasks["label"]["accuracy"])
        scores.append(max(score or 0.0 for score in harness.log.series("validation/label/accuracy")))
    exported = report.student.seed
    assert exported is not None
    assert scores[exported] == max(scores)
    assert harness.digest("three") == harness.digest(f"seed{exported}")
    assert verdict.exported == report.student.tasks["label"]["accuracy"] == pytest.approx(verdict.students[exported])


def test_repeats_that_were_interrupted_end_the_same(harness: EngineHarness) -> None:
    add_teachers(harness)
    spec = soft({"method": "kd"}, repeats=3)
    whole = report_of(harness.run(spec, "whole"))
    with pytest.raises(Stopped):
        harness.run(spec, "broken", stop=StopAtStep(26), cache_dir=str(harness.folder / "other"))
    broken = report_of(harness.run(spec, "broken", attempt=2, cache_dir=str(harness.folder / "other")))
    assert broken.verdict == whole.verdict


def test_a_control_with_smoothed_labels_is_another_control(harness: EngineHarness) -> None:
    add_teachers(harness)
    harness.run(soft({"method": "kd"}), "plain")
    harness.run(soft({"method": "kd"}, control={"label_smoothing": 0.2}), "smoothed")
    smoothing = {"kind": "train", "target": "label", "model": {"family": "mlp", "hidden": [8]}}
    harness.run({**smoothing, "training": {**TRAINING, "label_smoothing": 0.2}}, "alone")
    assert harness.digest("smoothed") == harness.digest("plain")
    smoothed, alone = harness.weights("smoothed", role="control"), harness.weights("alone")
    assert all(smoothed[name].equal(alone[name]) for name in alone)
    assert harness.digest("smoothed", role="control") != harness.digest("plain", role="control")


PEERS: Json = {"peers": [{"family": "mlp", "hidden": [8]}, {"family": "mlp", "hidden": [5]}]}


def mutual(**changes: Any) -> Json:
    spec = job({}, mutual=PEERS, **changes)
    del spec["distillation"]
    return spec


def test_students_learn_from_each_other_without_a_teacher(harness: EngineHarness) -> None:
    harness.dataset()
    spec = mutual()
    del spec["teachers"]
    report = report_of(harness.run(spec))
    losses = [value for value in harness.log.series("train/label/mutual") if value is not None]
    assert losses[0] > 0.0
    assert harness.log.series("peer-1/train/label/mutual")
    assert harness.log.series("peer-2/validation/label/accuracy")
    assert report.verdict["label"].verdict in {"provisional_gain", "provisional_loss", "undecided"}


def test_mutual_students_that_were_interrupted_end_the_same(harness: EngineHarness) -> None:
    add_teachers(harness)
    harness.run(mutual(), "whole")
    with pytest.raises(Stopped):
        harness.run(mutual(), "broken", stop=StopAtStep(8))
    harness.run(mutual(), "broken", attempt=2)
    assert harness.digest("broken", attempt=2) == harness.digest("whole")


def test_peers_change_the_student_and_not_its_control(harness: EngineHarness) -> None:
    add_teachers(harness)
    harness.run(mutual(), "with")
    harness.run(job({}), "without")
    assert harness.digest("with") != harness.digest("without")
    assert harness.digest("with", role="control") == harness.digest("without", role="control")


def test_a_control_with_batches_of_its_own_counts_its_steps_after_the_students(harness: EngineHarness) -> None:
    """Rows without labels teach the student alone; progress and checkpoints only rise, and end at the whole."""
    add_teachers(harness)
    arrays = blobs()
    arrays["label"][np.random.default_rng(3).permutation(240)[:150]] = -1
    harness.dataset(arrays)
    report = report_of(harness.run(soft({"method": "kd"}, repeats=2), checkpoint_seconds=0.0))
    assert report.control is not None
    assert report.control.steps == report.student.steps
    steps = [event.step for event in harness.log.checkpoints]
    assert steps == sorted(set(steps))
    progress = [event for event in harness.log.events if event.type == "progress"]
    assert [event.percent for event in progress] == sorted(event.percent for event in progress)
    assert report.student.steps is not None
    assert (progress[-1].percent, progress[-1].steps) == (100.0, 4 * report.student.steps)
