"""The learning rate and the temperatures of a job are series, so that its page can draw them."""

from math import cos, pi

import pytest

from tests.engine.harness import STUDENT, EngineHarness
from tests.engine.jobs.distillation.method_specs import add_teachers, soft

TRAINING = {"epochs": 4, "batch_size": 16, "learning_rate": 0.05, "schedule": {"kind": "cosine", "final": 0.0}}


def test_the_learning_rate_of_every_schedule_is_a_series_of_the_job(harness: EngineHarness) -> None:
    harness.dataset()
    harness.run({"kind": "train", "target": "label", "model": STUDENT, "training": TRAINING | {"warmup": 0}})
    steps = [point.step for point in harness.log.points if point.series == "train/learning_rate"]
    last = steps[-1]
    wanted = [0.05 * 0.5 * (1.0 + cos(pi * (step - 1) / (last - 1))) for step in steps]
    assert len(steps) == 4
    assert harness.log.series("train/learning_rate") == pytest.approx(wanted)


@pytest.mark.parametrize("repeats", [1, 2])
def test_student_control_and_repeats_have_one_learning_rate(harness: EngineHarness, repeats: int) -> None:
    add_teachers(harness)
    harness.run(soft({"method": "kd"}, training=TRAINING) | {"repeats": repeats})
    names = {point.series for point in harness.log.points}
    assert {name for name in names if name.endswith("learning_rate")} == {"train/learning_rate"}


def test_a_temperature_that_is_scheduled_or_learned_is_a_series_and_a_number_is_none(harness: EngineHarness) -> None:
    add_teachers(harness)
    scheduled = {"method": "kd", "temperature": {"schedule": "linear", "start": 8.0, "end": 1.0}}
    harness.run(soft(scheduled, training=TRAINING) | {"repeats": 1}, "scheduled")
    found = harness.log.series("train/label/kd/temperature")
    assert len(found) == 4
    assert found == sorted(found, key=lambda value: -(value or 0.0))
    assert found[-1] == pytest.approx(1.0)
    harness.run(soft({"method": "kd", "temperature": {"learned": True}}, training=TRAINING) | {"repeats": 1}, "learned")
    assert all(value is not None and value > 0.0 for value in harness.log.series("train/label/kd/temperature"))
    assert len(harness.log.series("train/label/kd/temperature")) == 4
    harness.run(soft({"method": "kd", "temperature": 4.0}, training=TRAINING) | {"repeats": 1}, "fixed")
    assert harness.log.series("train/label/kd/temperature") == []
