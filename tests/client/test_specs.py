"""Specs from objects: what callers have at hand, as the service wants it."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest
from stillhouse import Unreadable, specs
from stillhouse.documents import DatasetFields, JobFields, ModelFields

MODEL = ModelFields({"id": "mdl_1"})
DATASET = DatasetFields({"id": "ds_1"})
JOB = JobFields({"id": "job_1"})


@pytest.mark.parametrize(
    ("teacher", "expected"),
    [
        (MODEL, {"model": "mdl_1"}),
        ("mdl_2", {"model": "mdl_2"}),
        (JOB, {"job": "job_1"}),
        ("job_2", {"job": "job_2"}),
        (DATASET, {"predictions": "ds_1"}),
        ({"columns": "told", "weight": 0.5}, {"columns": "told", "weight": 0.5}),
        ({"model": MODEL, "output": "digit"}, {"model": "mdl_1", "output": "digit"}),
    ],
)
def test_a_teacher_is_a_model_a_job_predictions_or_as_in_a_spec(teacher: Any, expected: dict[str, Any]) -> None:
    spec = specs.distill(DATASET, {"family": "mlp"}, teacher, None, "digit", {"repeats": 1})
    assert spec == {
        "kind": "distill",
        "dataset": "ds_1",
        "student": {"family": "mlp"},
        "teachers": [expected],
        "target": "digit",
        "repeats": 1,
    }
    assert specs.distill("ds_1", {"family": "mlp"}, None, [teacher], "digit", {"repeats": 1}) == spec


def test_a_network_may_be_a_model_and_what_is_left_out_is_not_sent() -> None:
    assert specs.train("ds_1", MODEL, None, {}) == {"kind": "train", "dataset": "ds_1", "model": {"model": "mdl_1"}}
    mixed = specs.train(None, {"family": "mlp"}, None, {"datasets": [{"dataset": DATASET, "weight": 2}]})
    assert mixed["datasets"] == [{"dataset": "ds_1", "weight": 2}]
    assert "dataset" not in mixed


def test_tasks_are_names_or_objects_with_teachers() -> None:
    tasks: list[str | dict[str, Any]] = [
        "left",
        {"name": "right", "teacher": MODEL},
        {"name": "total", "teachers": [JOB, "mdl_2"]},
    ]
    assert specs.multitask("ds_1", {"family": "mlp"}, tasks, {})["tasks"] == [
        {"name": "left"},
        {"name": "right", "teachers": [{"model": "mdl_1"}]},
        {"name": "total", "teachers": [{"job": "job_1"}, {"model": "mdl_2"}]},
    ]


@pytest.mark.parametrize("text", ["", "../models", "a/b", "job 1", "job_1?wait=60"])
def test_a_text_that_is_no_id_does_not_become_a_path(text: str) -> None:
    with pytest.raises(Unreadable, match="expected an id such as"):
        specs.identity(text)


def test_one_and_several_teachers_at_once_are_refused() -> None:
    with pytest.raises(TypeError, match="put all of them into `teachers`"):
        specs.distill("ds_1", None, MODEL, [MODEL], None, {})


def test_one_thing_where_several_may_stand_is_a_list_of_one() -> None:
    one: list[Any] = ["job_2", JOB, {"job": "job_2"}]
    for teacher in one:
        assert len(specs.distill("ds_1", None, None, teacher, None, {})["teachers"]) == 1
    assert specs.identities("job_2") == ["job_2"]
    assert specs.identities(JOB) == ["job_1"]
    assert specs.multitask("ds_1", None, "left", {})["tasks"] == [{"name": "left"}]


ODD: Any = 7
MISPLACED: dict[str, Callable[[], object]] = {
    "nothing": lambda: specs.identity(None),  # type: ignore[arg-type]  # types refuse it too
    "swapped": lambda: specs.train({"family": "mlp"}, DATASET, None, {}),  # type: ignore[arg-type]  # types refuse it too
    "a dataset": lambda: specs.train("ds_1", DATASET, None, {}),  # type: ignore[arg-type]  # types refuse it too
    "a number": lambda: specs.train("ds_1", ODD, None, {}),
    "no teachers": lambda: specs.distill("ds_1", None, None, ODD, None, {}),
}


@pytest.mark.parametrize("call", MISPLACED.values(), ids=MISPLACED)
def test_what_is_no_resource_is_a_type_error_in_words(call: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=r"^expected .* found "):
        call()


def test_what_contains_itself_and_half_a_character_are_said() -> None:
    round_and_round: list[Any] = []
    round_and_round.append(round_and_round)
    deep: Any = 0
    for _ in range(5000):
        deep = [deep]
    for given in (round_and_round, deep):
        with pytest.raises(Unreadable, match="levels deep"):
            specs.plain(given)
    for half in ({"name": "\ud800"}, {"\ud800": 1}):
        with pytest.raises(Unreadable, match="half of one in"):
            specs.plain(half)


def test_numbers_of_numpy_and_times_are_plain_json() -> None:
    given = {"a": np.float32(0.5), "b": np.arange(2), "c": (1, 2), "d": date(2030, 1, 2), "e": datetime(2030, 1, 2, 3)}
    assert specs.plain(given) == {"a": 0.5, "b": [0, 1], "c": [1, 2], "d": "2030-01-02", "e": "2030-01-02T03:00:00"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes"])
def test_what_json_cannot_hold_is_said(value: object) -> None:
    with pytest.raises(Unreadable, match="expected what JSON can hold"):
        specs.plain({"a": [value]})
