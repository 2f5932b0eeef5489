"""A student that starts from its teacher's layers."""

from typing import Any

import pytest
import torch

from app.contracts.resolving.resolve import resolve
from app.contracts.specs.jobs import JOB_SPEC
from tests.engine.harness import DATASET, SECOND, TEACHER, EngineHarness
from tests.engine.jobs.distillation.method_specs import add_teachers, soft

Json = dict[str, Any]
ONE_STEP: Json = {"steps": 1, "optimizer": "sgd", "learning_rate": 1e-9}


def started(init: Json, hidden: list[int]) -> Json:
    student = {"family": "mlp", "hidden": hidden, "init": init}
    return soft({"method": "kd"}, student=student, training=ONE_STEP)


def test_named_layers_start_as_the_teachers_and_the_others_at_random(harness: EngineHarness) -> None:
    add_teachers(harness)
    harness.run(started({"from": 0, "layers": {"layers.0": "layers.0"}}, [32]), "started")
    harness.run(soft({"method": "kd"}, student={"family": "mlp", "hidden": [32]}, training=ONE_STEP), "random")
    teacher, student, random = harness.weights("teacher0"), harness.weights("started"), harness.weights("random")
    torch.testing.assert_close(student["layers.0.weight"], teacher["layers.0.weight"])
    torch.testing.assert_close(student["layers.1.weight"], random["layers.1.weight"])


def test_without_names_every_tensor_of_the_same_name_and_shape_is_taken(harness: EngineHarness) -> None:
    add_teachers(harness)
    both = [{"model": TEACHER}, {"model": SECOND}]
    harness.run(started({"from": 1}, [32, 24]) | {"teachers": both}, "started")
    teacher, student = harness.weights("teacher7"), harness.weights("started")
    for name, value in teacher.items():
        torch.testing.assert_close(student[name], value)


def test_the_control_starts_at_random(harness: EngineHarness) -> None:
    add_teachers(harness)
    harness.run(started({"from": 0, "layers": {"layers.0": "layers.0"}}, [32]), "started")
    harness.run(soft({"method": "kd"}, student={"family": "mlp", "hidden": [32]}, training=ONE_STEP), "random")
    assert harness.digest("started", role="control") == harness.digest("random", role="control")


@pytest.mark.parametrize(
    ("init", "hidden", "place", "code"),
    [
        ({"from": 2}, [32], "/student/init/from", "unknown_teacher"),
        ({"layers": {"layers.0": "layers.9"}}, [32], "/student/init/layers", "shape_mismatch"),
        ({"layers": {"layers.0": "layers.0"}}, [31], "/student/init/layers", "shape_mismatch"),
        ({"layers": {"body": "layers.0"}}, [32], "/student/init/layers", "unknown_layer"),
    ],
)
def test_layers_that_do_not_fit_are_refused_at_submission(
    harness: EngineHarness, init: Json, hidden: list[int], place: str, code: str
) -> None:
    add_teachers(harness)
    assert harness.data is not None
    spec = JOB_SPEC.validate_python({"dataset": DATASET, **started(init, hidden)}, strict=False)
    facts = {name: model.facts for name, model in harness.models.items()}
    found = resolve(spec, {DATASET: harness.data.facts}, facts, threads=1)
    assert {(problem.pointer, problem.code) for problem in found.problems} == {(place, code)}
