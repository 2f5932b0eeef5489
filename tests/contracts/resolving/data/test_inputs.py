"""Which inputs of a dataset a student and a network read, and what is refused."""

from typing import Any

import pytest

from app.contracts.resolving.data.inputs import assumed_orders, inputs_read, student_inputs
from app.contracts.resources.facts import MODEL_FACTS

SHAPES = {"image": (3, 8, 8), "age": (1,), "text": (5,)}


@pytest.mark.parametrize(
    ("selected", "names", "shape"),
    [
        (["image"], ("image",), (3, 8, 8)),
        (["text", "age"], ("age", "text"), (6,)),
        (["age"], ("age",), (1,)),
    ],
)
def test_a_student_reads_what_it_selects_in_the_order_of_the_dataset(
    selected: list[str], names: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    assert student_inputs(selected, SHAPES) == (names, shape, None)


@pytest.mark.parametrize(
    ("selected", "code", "told"),
    [
        (None, "inputs_not_flat", '"inputs": ["age", "text"]'),
        (["image", "age"], "inputs_not_flat", "[3, 8, 8]"),
        (["sound"], "unknown_input", "`age`, `image`, `text`"),
    ],
)
def test_what_cannot_be_concatenated_is_refused_with_a_way_out(
    selected: list[str] | None, code: str, told: str
) -> None:
    _, _, problem = student_inputs(selected, SHAPES)
    assert problem is not None
    assert problem.code == code
    assert told in problem.detail


def test_facts_of_an_older_version_load_and_read_a_single_input_whatever_its_name() -> None:
    old: dict[str, Any] = {
        "architecture": None,
        "input_shape": [6],
        "inputs": {"x": {}},
        "outputs": {},
        "parameters": 1,
    }
    facts = MODEL_FACTS.validate_python(old)
    assert inputs_read(facts, {"anything": (6,)}) == (("anything",), None)
    assert inputs_read(facts, {"anything": (2, 3)})[1] is None
    _, problem = inputs_read(facts, {"a": (3,), "b": (3,)})
    assert problem is not None
    assert problem.code == "input_mismatch"
    unnamed = MODEL_FACTS.validate_python({**old, "inputs": {}})
    assert inputs_read(unnamed, {"a": (3,), "b": (3,)}) == (("a", "b"), None)
    assert inputs_read(unnamed, {"a": (3,), "b": (4,)})[1] is not None


GRAPH: dict[str, Any] = {
    "architecture": None,
    "input_shape": None,
    "inputs": {},
    "input_shapes": {"a": [3], "b": [2]},
    "graph_inputs": {"a": "a", "b": "b"},
    "outputs": {},
    "parameters": 1,
}


def test_a_graph_reads_the_inputs_of_its_names_and_leaves_the_others() -> None:
    facts = MODEL_FACTS.validate_python(GRAPH, strict=False)
    assert inputs_read(facts, {"c": (7,), "b": (2,), "a": (3,)}) == (("a", "b"), None)
    _, problem = inputs_read(facts, {"a": (3,), "c": (2,)})
    assert problem is not None
    assert "`rename`" in problem.detail


@pytest.mark.parametrize(("inputs", "told"), [({}, True), ({"a": {}, "b": {}}, False)])
def test_inputs_that_are_concatenated_for_a_graph_of_one_tensor_are_told(inputs: dict[str, Any], told: bool) -> None:
    one = {**GRAPH, "input_shape": [5], "inputs": inputs, "input_shapes": {"x": [5]}, "graph_inputs": {"x": "x"}}
    facts = MODEL_FACTS.validate_python(one, strict=False)
    assert bool(assumed_orders(facts, {"a": (3,), "b": (2,)})) == told


def test_rows_of_several_sides_for_an_open_one_name_both_ways_out() -> None:
    one = {**GRAPH, "input_shapes": {"s": [None]}, "graph_inputs": {"s": "s"}}
    facts = MODEL_FACTS.validate_python(one, strict=False)
    assert inputs_read(facts, {"mel": (1, 64)}) == (("mel",), None)
    _, problem = inputs_read(facts, {"mel": (1, 40, 30)})
    assert problem is not None
    assert "rows of shape [any] for `s`, the dataset's have [1, 40, 30]: give the dataset's input" in problem.detail
    assert '"inputs": {"s": {"shape": [1200]}}' in problem.detail
