"""The same columns stand in the same order in all datasets of a job, and in what its teachers were trained on."""

from typing import Any

import pytest

from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts
from app.contracts.resources.manifests import InputTransform
from tests.contracts.resolving.data.test_joining import DIGIT, FACTS, SIZE, SPEC, codes, facts
from tests.contracts.resolving.data.test_joining import resolved as resolved_together
from tests.contracts.resolving.test_resolve import DISTILL, TEACHER, dataset, resolved, teacher, warned

Names = tuple[str, ...] | None
AB, BA, CD = ("a", "b"), ("b", "a"), ("c", "d")


def table(columns: Names, name: str = "x") -> InputFacts:
    return InputFacts(shape=(2,), columns=columns)


def joined(one: Names, two: Names) -> Any:
    first, second = (
        facts(digit=DIGIT, size=SIZE).model_copy(update={"inputs": {"x": table(names)}}) for names in (one, two)
    )
    return resolved_together(SPEC, first, second)


def test_joined_datasets_with_the_columns_in_another_order_are_refused_with_the_order() -> None:
    found = joined(AB, BA)
    assert codes(found) == [("/datasets/1", "column_order_differs")]
    assert "list them in the dataset's manifest as `a`, `b`, in this order" in found.problems[0].detail


@pytest.mark.parametrize(("two", "told"), [(AB, False), (CD, True), (("a", "c"), True), (None, False)])
def test_other_names_are_told_and_unknown_ones_are_not(two: Names, told: bool) -> None:
    found = joined(AB, two)
    assert not found.problems
    assert ("column_names_differ" in warned(found)) == told


def test_each_of_several_inputs_is_compared() -> None:
    first, second = (
        FACTS.model_copy(update={"inputs": {"n": table(None), "x": table(names)}, "targets": {"digit": DIGIT}})
        for names in (AB, BA)
    )
    spec = {**SPEC, "tasks": [{"name": "digit"}]}
    assert codes(resolved_together(spec, first, second)) == [("/datasets/1", "column_order_differs")]


def trained(**inputs: Names) -> ModelFacts:
    """A model that was trained on these columns of these inputs."""
    size = 2 * len(inputs)
    transforms = {name: InputTransform(columns=columns) for name, columns in inputs.items()}
    shapes: dict[str, Any] = dict.fromkeys(inputs, (2,))
    return teacher(shape=(size,)).model_copy(update={"inputs": transforms, "input_shapes": shapes})


def data(**inputs: Names) -> DatasetFacts:
    return dataset().model_copy(update={"inputs": {name: table(columns) for name, columns in inputs.items()}})


MULTITASK: dict[str, Any] = {
    "kind": "multitask",
    "tasks": [{"name": "digit", "teachers": [{"model": TEACHER}]}],
    "student": {"family": "mlp", "hidden": [4]},
}


@pytest.mark.parametrize(("spec", "pointer"), [(DISTILL, "/teachers/0"), (MULTITASK, "/tasks/0/teachers/0")])
def test_a_teacher_that_was_trained_on_the_columns_in_another_order_is_refused(
    spec: dict[str, Any], pointer: str
) -> None:
    found = resolved(spec, data(x=BA), {TEACHER: trained(x=AB)})
    assert [(each.pointer, each.code) for each in found.problems] == [(pointer, "column_order_differs")]
    assert "as `a`, `b`, in this order" in found.problems[0].detail


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        ({"x": AB}, {"x": AB}, set()),
        ({"x": AB}, {"z": CD}, {"column_names_differ"}),
        ({"x": None}, {"x": BA}, set()),
        ({"x": AB}, {"x": None}, set()),
        ({"n": AB, "x": CD}, {"x": CD, "n": AB}, set()),
        ({"n": AB, "x": CD}, {"x": CD, "n": ("a", "e")}, {"column_names_differ"}),
    ],
)
def test_a_teacher_of_the_same_or_unknown_columns_is_taken_and_of_others_with_a_warning(
    theirs: dict[str, Names], ours: dict[str, Names], told: set[str]
) -> None:
    found = resolved(DISTILL, data(**ours), {TEACHER: trained(**theirs)})
    assert not found.problems
    assert warned(found) & {"column_names_differ"} == told


def test_the_columns_of_two_inputs_are_compared_with_those_of_one() -> None:
    one = dataset().model_copy(update={"inputs": {"x": InputFacts(shape=(4,), columns=(*CD, *AB))}})
    found = resolved(DISTILL, one, {TEACHER: trained(m=AB, n=CD)})
    assert [each.code for each in found.problems] == ["column_order_differs"]
