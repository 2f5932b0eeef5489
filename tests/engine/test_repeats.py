"""Repeats, mutual learning, controls with smoothed labels."""

from typing import Any

import numpy as np
import pytest

from tests.engine.methods import TRAINING, job, school, soft
from tests.engine.workshop import StopAtStep, Workshop, blobs, report_of
from workers.engine.common.stop import Stopped

Json = dict[str, Any]


def test_repeats_are_the_jobs_of_further_seeds(workshop: Workshop) -> None:
    school(workshop)
    report = report_of(workshop.run(soft({"method": "kd"}, repeats=3), "three"))
    verdict = report.verdict["label"]
    assert verdict.repeats == 3
    for i in range(3):
        seeded = soft({"method": "kd"}, training={**TRAINING, "seed": i})
        single = report_of(workshop.run(seeded, f"seed{i}"))
        assert verdict.students[i] == pytest.approx(single.student.tasks["label"]["accuracy"])
        assert single.control is not None
        assert verdict.controls[i] == pytest.approx(single.control.tasks["label"]["accuracy"])
    assert workshop.digest("three") == workshop.digest("seed0")


def test_repeats_that_were_interrupted_end_the_same(workshop: Workshop) -> None:
    school(workshop)
    spec = soft({"method": "kd"}, repeats=3)
    whole = report_of(workshop.run(spec, "whole"))
    with pytest.raises(Stopped):
        workshop.run(spec, "broken", stop=StopAtStep(26), cache_dir=str(workshop.folder / "other"))
    broken = report_of(workshop.run(spec, "broken", attempt=2, cache_dir=str(workshop.folder / "other")))
    assert broken.verdict == whole.verdict


def test_a_control_with_smoothed_labels_is_another_control(workshop: Workshop) -> None:
    school(workshop)
    workshop.run(soft({"method": "kd"}), "plain")
    workshop.run(soft({"method": "kd"}, control={"label_smoothing": 0.2}), "smoothed")
    smoothing = {"kind": "train", "target": "label", "model": {"family": "mlp", "hidden": [8]}}
    workshop.run({**smoothing, "training": {**TRAINING, "label_smoothing": 0.2}}, "alone")
    assert workshop.digest("smoothed") == workshop.digest("plain")
    smoothed, alone = workshop.weights("smoothed", role="control"), workshop.weights("alone")
    assert all(smoothed[name].equal(alone[name]) for name in alone)
    assert workshop.digest("smoothed", role="control") != workshop.digest("plain", role="control")


PEERS: Json = {"peers": [{"family": "mlp", "hidden": [8]}, {"family": "mlp", "hidden": [5]}]}


def mutual(**changes: Any) -> Json:
    spec = job({}, mutual=PEERS, **changes)
    del spec["distillation"]
    return spec


def test_students_learn_from_each_other_without_a_teacher(workshop: Workshop) -> None:
    workshop.dataset()
    spec = mutual()
    del spec["teachers"]
    report = report_of(workshop.run(spec))
    losses = [value for value in workshop.diary.series("train/label/mutual") if value is not None]
    assert losses[0] > 0.0
    assert workshop.diary.series("peer-1/train/label/mutual")
    assert workshop.diary.series("peer-2/validation/label/accuracy")
    assert report.verdict["label"].verdict in {"gain", "no_gain", "loss", "inconclusive"}


def test_mutual_students_that_were_interrupted_end_the_same(workshop: Workshop) -> None:
    school(workshop)
    workshop.run(mutual(), "whole")
    with pytest.raises(Stopped):
        workshop.run(mutual(), "broken", stop=StopAtStep(8))
    workshop.run(mutual(), "broken", attempt=2)
    assert workshop.digest("broken", attempt=2) == workshop.digest("whole")


def test_peers_change_the_student_and_not_its_control(workshop: Workshop) -> None:
    school(workshop)
    workshop.run(mutual(), "with")
    workshop.run(job({}), "without")
    assert workshop.digest("with") != workshop.digest("without")
    assert workshop.digest("with", role="control") == workshop.digest("without", role="control")


def test_a_control_with_batches_of_its_own_counts_its_steps_after_the_students(workshop: Workshop) -> None:
    """Rows without labels teach the student alone; progress and checkpoints only rise, and end at the whole."""
    school(workshop)
    arrays = blobs()
    arrays["label"][np.random.default_rng(3).permutation(240)[:150]] = -1
    workshop.dataset(arrays)
    report = report_of(workshop.run(soft({"method": "kd"}, repeats=2), checkpoint_seconds=0.0))
    assert report.control is not None
    assert report.control.steps == report.student.steps
    steps = [event.step for event in workshop.diary.checkpoints]
    assert steps == sorted(set(steps))
    progress = [event for event in workshop.diary.events if event.type == "progress"]
    assert [event.percent for event in progress] == sorted(event.percent for event in progress)
    assert report.student.steps is not None
    assert (progress[-1].percent, progress[-1].steps) == (100.0, 4 * report.student.steps)
