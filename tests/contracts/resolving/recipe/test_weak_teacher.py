"""Which weights may follow from a comparison of a teacher with the control, and what they become."""

from typing import Any

import pytest

from app.contracts.resolving.recipe.weak_teacher import (
    chosen_for_weak_teachers,
    for_weak_teachers,
    tasks_with_chosen_weights,
)
from app.contracts.resolving.resolve import Resolution
from app.contracts.specs.jobs import DistillJob, MultitaskJob, TrainJob
from tests.contracts.resolving.recipe.test_distillation import facts, found, terms
from tests.contracts.resolving.test_resolve import TEACHER, resolved

REASON = {"y": "why"}
ARCHITECTURE: dict[str, Any] = {"family": "mlp"}


def names(resolution: Resolution) -> set[str]:
    assert isinstance(resolution.spec, TrainJob | DistillJob | MultitaskJob)
    return tasks_with_chosen_weights(resolution.spec, resolution.chosen)


def multitask(**changes: Any) -> Resolution:
    tasks = [{"name": "y", "teachers": [{"model": TEACHER}]}, {"name": "z"}]
    resolution = resolved(
        {"kind": "multitask", "tasks": tasks, "student": ARCHITECTURE, **changes}, *facts("class", 100)
    )
    assert not resolution.problems
    return resolution


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"y"}),
        ({"soft_targets": {"method": "kd"}}, {"y"}),
        ({"soft_targets": [{"method": "kd"}, {"method": "dist"}]}, {"y"}),
        ({"soft_targets": [{"method": "kd", "weight": 0.4}, {"method": "dist"}]}, set()),
        ({"soft_targets": {"method": "kd", "weight": 0.4}}, set()),
        ({"soft_targets": {"method": "kd", "weight": {"search": [0.2, 0.9]}}}, set()),
        ({"supervised": {"weight": 0.4}}, set()),
        ({"supervised": {"weight": 1.0}}, set()),
    ],
)
def test_only_weights_that_were_all_chosen_follow_from_the_control(given: Any, expected: set[str]) -> None:
    assert names(found(given)) == expected


def test_a_resolution_of_a_resolved_spec_has_nothing_that_was_chosen() -> None:
    spec = found().spec
    assert isinstance(spec, DistillJob)
    assert tasks_with_chosen_weights(spec, {}) == set()


def test_several_terms_divide_the_weight_and_the_rest_of_the_spec_stays() -> None:
    resolution = found({"soft_targets": [{"method": "kd"}, {"method": "kd", "temperature": 8.0}]})
    assert isinstance(resolution.spec, DistillJob)
    changed = for_weak_teachers(resolution.spec, REASON)
    assert isinstance(changed, DistillJob)
    lowered = Resolution(spec=changed, problems=(), warnings=(), chosen={}, complete=True)
    assert terms(lowered) == ([("kd", 2.0, 0.05), ("kd", 8.0, 0.05)], 0.9)
    assert changed.model_copy(update={"distillation": resolution.spec.distillation}) == resolution.spec


@pytest.mark.parametrize("given", [None, {"soft_targets": {"method": "kd"}}])
def test_what_was_chosen_has_the_new_values_at_the_same_pointers(given: Any) -> None:
    resolution = found(given)
    assert isinstance(resolution.spec, DistillJob)
    changed = for_weak_teachers(resolution.spec, REASON)
    chosen = chosen_for_weak_teachers(changed, REASON, resolution.chosen)
    weights = {
        pointer for pointer in resolution.chosen if pointer.startswith("/distillation") and "temp" not in pointer
    }
    assert chosen.keys() == weights
    assert {choice.because for choice in chosen.values()} == {"why"}
    soft = chosen["/distillation/soft_targets" if given is None else "/distillation/soft_targets/0/weight"].value
    assert soft == ({"method": "kd", "temperature": 2.0, "weight": 0.1} if given is None else 0.1)


def test_of_several_tasks_only_those_with_a_weak_teacher_change() -> None:
    resolution = multitask()
    assert isinstance(resolution.spec, MultitaskJob)
    assert names(resolution) == {"y"}
    changed = for_weak_teachers(resolution.spec, REASON)
    assert isinstance(changed, MultitaskJob)
    assert changed.tasks[0].distillation is not None
    assert changed.tasks[0].distillation.supervised.weight == 0.9
    assert changed.tasks[1] == resolution.spec.tasks[1]
    assert chosen_for_weak_teachers(changed, REASON, resolution.chosen).keys() == {
        "/tasks/0/distillation/soft_targets",
        "/tasks/0/distillation/supervised/weight",
    }


def test_tasks_that_borrow_teachers_borrow_their_weights_so_that_none_are_compared() -> None:
    relation = {"matrix": [[1, 1], [1, 1]], "apply": "teachers"}
    assert names(multitask(relation=relation)) == set()
    assert names(multitask(relation=relation | {"apply": "rows"})) == {"y"}
