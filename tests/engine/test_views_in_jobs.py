"""Views in whole jobs: teachers see what students see, stored targets belong to a view, resumed is uninterrupted."""

from typing import Any

import pytest

from tests.engine.methods import TRAINING, feature, job, pictures, soft
from tests.engine.workshop import StopAtStep, Workshop, report_of
from workers.engine.common.stop import Stopped

Json = dict[str, Any]
SHIFTED: Json = {"seed": 3, "transforms": [{"kind": "shift", "pixels": 1}, {"kind": "flip"}]}
MIXED: Json = {"seed": 3, "transforms": [{"kind": "shift", "pixels": 1}, {"kind": "mixup", "alpha": 0.4}]}
STUDENT: Json = {"family": "convnet", "channels": [4]}


def viewed(views: Json, **changes: Any) -> Json:
    return soft({"method": "kd"}, student=STUDENT, training={**TRAINING, "views": views}, **changes)


@pytest.mark.parametrize("views", [SHIFTED, MIXED], ids=["shifted", "mixed"])
def test_a_job_with_views_that_was_interrupted_gives_the_same_student(workshop: Workshop, views: Json) -> None:
    pictures(workshop)
    workshop.run(viewed(views), "whole")
    with pytest.raises(Stopped):
        workshop.run(viewed(views), "broken", stop=StopAtStep(9), cache_dir=str(workshop.folder / "other"))
    workshop.run(viewed(views), "broken", attempt=2, cache_dir=str(workshop.folder / "other"))
    assert workshop.digest("broken", attempt=2) == workshop.digest("whole")


def test_the_teacher_sees_the_very_view_that_the_student_sees(workshop: Workshop) -> None:
    """A student that is the teacher has nothing to learn from it, whatever the view: a target that belonged to
    another view would tell.
    """
    pictures(workshop)
    plain = {"family": "convnet", "channels": [6, 8], "normalization": "none"}
    teaching = {"kind": "train", "target": "label", "model": plain, "training": TRAINING}
    workshop.teacher(workshop.run(teaching, "plain"), workshop.folder / "plain" / "attempt-1")
    spec = viewed(SHIFTED, control=False) | {"student": {**plain, "init": {"from": 0}}}
    spec["distillation"] = {"soft_targets": {"method": "kd", "weight": 1.0}, "supervised": {"weight": 0.0}}
    spec["training"] = spec["training"] | {"optimizer": "sgd"}  # adam makes long steps of rounding errors
    workshop.run(spec)
    assert max(value or 0.0 for value in workshop.diary.series("train/label/kd")) < 1e-6


def test_repeats_share_the_targets_of_their_views(workshop: Workshop) -> None:
    """`views.seed` is apart from `training.seed`: further seeds and later jobs make no pass of the teacher."""
    pictures(workshop)
    first = report_of(workshop.run(viewed(SHIFTED, repeats=3), "first"))
    epochs = TRAINING["epochs"]
    assert (first.targets[0].store, first.targets[0].passes) == ("miss", 1 + epochs)
    second = report_of(
        workshop.run(viewed(SHIFTED) | {"training": {**TRAINING, "views": SHIFTED, "seed": 9}}, "second")
    )
    assert (second.targets[0].store, second.targets[0].passes) == ("hit", 0)
    other = report_of(workshop.run(viewed({**SHIFTED, "seed": 4}), "other"))
    assert (other.targets[0].store, other.targets[0].passes) == ("hit", epochs)


def test_targets_of_views_beyond_the_bound_stay_with_the_job_and_change_no_bit(workshop: Workshop) -> None:
    pictures(workshop)
    workshop.run(viewed(SHIFTED), "stored")
    report = report_of(workshop.run(viewed(SHIFTED), "fly", cache_dir=str(workshop.folder / "small"), cache_bytes=2000))
    assert report.targets[0].passes == 1 + TRAINING["epochs"]
    assert workshop.digest("fly") == workshop.digest("stored")


def test_layers_of_the_teacher_go_with_the_view_too(workshop: Workshop) -> None:
    pictures(workshop)
    layers = {"method": "fitnets", "teacher_layer": "stages.1", "student_layer": "stages.0"}
    plain = feature(layers, student=STUDENT, training=TRAINING)
    seen = feature(layers, student=STUDENT, training={**TRAINING, "views": SHIFTED})
    workshop.run(plain, "plain")
    workshop.run(seen, "seen")
    assert workshop.digest("plain") != workshop.digest("seen")
    assert workshop.diary.series("train/label/fitnets")


def test_mixed_rows_learn_both_labels(workshop: Workshop) -> None:
    pictures(workshop)
    spec = {"kind": "train", "target": "label", "model": STUDENT, "training": {**TRAINING, "epochs": 8, "views": MIXED}}
    report = report_of(workshop.run(spec))
    accuracy = report.student.tasks["label"]["accuracy"]
    assert accuracy is not None
    assert accuracy > 0.5


def test_a_control_sees_the_same_views(workshop: Workshop) -> None:
    pictures(workshop)
    workshop.run(viewed(SHIFTED), "first")
    workshop.run(job({"soft_targets": {"method": "kd"}}, student=STUDENT), "plain")
    assert workshop.digest("first", role="control") != workshop.digest("plain", role="control")
