"""Views in whole jobs: teachers see what students see, stored targets belong to a view, resumed is uninterrupted."""

from typing import Any

import pytest

from tests.engine.harness import EngineHarness, StopAtStep, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING, feature, job, pictures, soft
from workers.engine.common.stop import Stopped

Json = dict[str, Any]
SHIFTED: Json = {"seed": 3, "transforms": [{"kind": "shift", "pixels": 1}, {"kind": "flip"}]}
MIXED: Json = {"seed": 3, "transforms": [{"kind": "shift", "pixels": 1}, {"kind": "mixup", "alpha": 0.4}]}
MASKED: Json = {"seed": 3, "transforms": [{"kind": "spec_augment", "frequency_width": 2, "time_width": 2}]}
STUDENT: Json = {"family": "convnet", "channels": [4]}


def viewed(views: Json, **changes: Any) -> Json:
    return soft({"method": "kd"}, student=STUDENT, training={**TRAINING, "views": views}, **changes)


@pytest.mark.parametrize("views", [SHIFTED, MIXED, MASKED], ids=["shifted", "mixed", "masked"])
def test_a_job_with_views_that_was_interrupted_gives_the_same_student(harness: EngineHarness, views: Json) -> None:
    pictures(harness)
    harness.run(viewed(views), "whole")
    with pytest.raises(Stopped):
        harness.run(viewed(views), "broken", stop=StopAtStep(9), cache_dir=str(harness.folder / "other"))
    harness.run(viewed(views), "broken", attempt=2, cache_dir=str(harness.folder / "other"))
    assert harness.digest("broken", attempt=2) == harness.digest("whole")


def test_the_teacher_sees_the_very_view_that_the_student_sees(harness: EngineHarness) -> None:
    """A student that is the teacher has nothing to learn from it, whatever the view: a target that belonged to
    another view would tell.
    """
    pictures(harness)
    plain = {"family": "convnet", "channels": [6, 8], "normalization": "none"}
    teaching = {"kind": "train", "target": "label", "model": plain, "training": TRAINING}
    harness.teacher(harness.run(teaching, "plain"), harness.folder / "plain" / "attempt-1")
    spec = viewed(SHIFTED, control=False) | {"student": {**plain, "init": {"from": 0}}}
    spec["distillation"] = {"soft_targets": {"method": "kd", "weight": 1.0}, "supervised": {"weight": 0.0}}
    spec["training"] = spec["training"] | {"optimizer": "sgd"}  # adam makes long steps of rounding errors
    harness.run(spec)
    assert max(value or 0.0 for value in harness.log.series("train/label/kd")) < 1e-6


def test_repeats_share_the_targets_of_their_views(harness: EngineHarness) -> None:
    """`views.seed` is apart from `training.seed`: further seeds and later jobs make no pass of the teacher."""
    pictures(harness)
    first = report_of(harness.run(viewed(SHIFTED, repeats=3), "first"))
    epochs = TRAINING["epochs"]
    assert (first.targets[0].store, first.targets[0].passes) == ("miss", 1 + epochs)
    second = report_of(harness.run(viewed(SHIFTED) | {"training": {**TRAINING, "views": SHIFTED, "seed": 9}}, "second"))
    assert (second.targets[0].store, second.targets[0].passes) == ("hit", 0)
    other = report_of(harness.run(viewed({**SHIFTED, "seed": 4}), "other"))
    assert (other.targets[0].store, other.targets[0].passes) == ("hit", epochs)


def test_targets_of_views_beyond_the_bound_stay_with_the_job_and_change_no_bit(harness: EngineHarness) -> None:
    pictures(harness)
    harness.run(viewed(SHIFTED), "stored")
    report = report_of(harness.run(viewed(SHIFTED), "fly", cache_dir=str(harness.folder / "small"), cache_bytes=2000))
    assert report.targets[0].passes == 1 + TRAINING["epochs"]
    assert harness.digest("fly") == harness.digest("stored")


def test_layers_of_the_teacher_go_with_the_view_too(harness: EngineHarness) -> None:
    pictures(harness)
    layers = {"method": "fitnets", "teacher_layer": "stages.1", "student_layer": "stages.0"}
    plain = feature(layers, student=STUDENT, training=TRAINING)
    seen = feature(layers, student=STUDENT, training={**TRAINING, "views": SHIFTED})
    harness.run(plain, "plain")
    harness.run(seen, "seen")
    assert harness.digest("plain") != harness.digest("seen")
    assert harness.log.series("train/label/fitnets")


def test_mixed_rows_learn_both_labels(harness: EngineHarness) -> None:
    pictures(harness)
    spec = {
        "kind": "train",
        "target": "label",
        "model": STUDENT,
        "training": {**TRAINING, "epochs": 16, "views": MIXED},
    }
    report = report_of(harness.run(spec))
    accuracy = report.student.tasks["label"]["accuracy"]
    assert accuracy is not None
    assert accuracy > 0.5


def test_a_control_sees_the_same_views(harness: EngineHarness) -> None:
    pictures(harness)
    harness.run(viewed(SHIFTED), "first")
    harness.run(job({"soft_targets": {"method": "kd"}}, student=STUDENT), "plain")
    assert harness.digest("first", role="control") != harness.digest("plain", role="control")
