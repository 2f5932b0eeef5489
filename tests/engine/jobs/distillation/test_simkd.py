"""SimKD: the teacher's head is reused and stays as it is."""

from typing import Any

import pytest
import torch

from tests.engine.harness import EngineHarness
from tests.engine.jobs.distillation.method_specs import add_teachers, feature

Json = dict[str, Any]
WIDE: Json = {"family": "mlp", "hidden": [8, 24]}


def test_the_students_head_is_the_teachers_bit_for_bit_and_the_rest_is_trained(harness: EngineHarness) -> None:
    add_teachers(harness)
    harness.run(feature({"method": "simkd"}, student=WIDE))
    teacher, student = harness.weights("teacher0"), harness.weights()
    control = harness.weights(role="control")
    for part in ("weight", "bias"):
        assert torch.equal(student[f"layers.2.{part}"], teacher[f"layers.2.{part}"])
        assert not torch.equal(control[f"layers.2.{part}"], teacher[f"layers.2.{part}"])
    losses = [value for value in harness.log.series("train/label/simkd") if value is not None]
    assert losses[-1] < 0.9 * losses[0]


def test_nothing_is_added_to_the_student(harness: EngineHarness) -> None:
    """The projector is the student's own last hidden layer."""
    add_teachers(harness)
    harness.run(feature({"method": "simkd"}, student=WIDE))
    assert {name.split(".")[1] for name in harness.weights()} == {"0", "1", "2"}


def test_another_width_is_refused_with_the_way_out(harness: EngineHarness) -> None:
    add_teachers(harness)
    with pytest.raises(AssertionError, match=r"end the student's `hidden` with 24"):
        harness.order(feature({"method": "simkd"}, student={"family": "mlp", "hidden": [8]}))


def test_in_several_tasks_each_reuses_its_own_teachers_head(harness: EngineHarness) -> None:
    add_teachers(harness)
    term = {"method": "simkd", "weight": 1.0}
    distilled = {
        "name": "label",
        "teachers": [{"model": next(iter(harness.models))}],
        "distillation": {"features": term},
    }
    spec: Json = {
        "kind": "multitask",
        "tasks": [distilled, {"name": "side"}],
        "student": WIDE,
        "balancing": {"method": "pcgrad"},
        "training": {"epochs": 2, "batch_size": 32},
        "control": False,
    }
    harness.run(spec)
    student, teacher = harness.weights(), harness.weights("teacher0")
    assert torch.equal(student["heads.label.weight"], teacher["layers.2.weight"])
    assert student["heads.side.weight"].shape == (2, 24)
