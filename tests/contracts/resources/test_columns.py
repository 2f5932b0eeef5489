"""A target among the inputs, and a column listed twice: refused in a manifest that is sent, read in a stored one."""

import json
from typing import Any

import pytest

from app.contracts.resources.columns import column_problems
from app.contracts.resources.manifests import DatasetManifest


def manifest(columns: list[str] | None, **targets: Any) -> DatasetManifest:
    inputs = {"x": {"kind": "array", **({} if columns is None else {"columns": columns})}}
    document = {"name": "d", "format": "csv", "inputs": inputs, "targets": targets}
    return DatasetManifest.model_validate_json(json.dumps(document))


def found(columns: list[str] | None, **targets: Any) -> list[tuple[str, str]]:
    return [(each.pointer, each.code) for each in column_problems(manifest(columns, **targets))]


VALUE = {"kind": "value"}
AMONG = [("/inputs/x/columns", "target_among_inputs")]


@pytest.mark.parametrize(
    ("columns", "targets"),
    [
        (["a", "b", "y"], {"y": VALUE}),
        (["a", "price"], {"y": {"kind": "value", "column": "price"}}),
        (["a", "y"], {"y": {"kind": "class", "classes": 2}}),
        (["a", "b"], {"y": {"kind": "multilabel", "columns": ["b", "c"]}}),
        (["a", "b"], {"y": {"kind": "vector", "columns": ["b"]}}),
        (["a", "s0"], {"s": {"kind": "teacher", "columns": ["s0", "s1"], "predicts": {"kind": "class"}}}),
    ],
)
def test_a_target_among_the_inputs_is_refused(columns: list[str], targets: dict[str, Any]) -> None:
    assert found(columns, **targets) == AMONG
    (problem,) = column_problems(manifest(columns, **targets))
    assert problem.detail.startswith("expected")


@pytest.mark.parametrize(
    ("columns", "targets"),
    [
        (["a", "b"], {"y": VALUE}),
        (None, {"y": VALUE}),
        (["a", "b"], {}),
        (["a", "b"], {"same": {"kind": "vector", "columns": ["a", "b"]}}),  # a reconstruction
        (None, {"same": {"kind": "vector", "columns": ["x"]}}),
    ],
)
def test_other_columns_are_not(columns: list[str] | None, targets: dict[str, Any]) -> None:
    assert found(columns, **targets) == []


def test_a_whole_array_that_is_also_a_value_is_refused() -> None:
    assert found(None, y={"kind": "value", "column": "x"}) == [("/inputs/x", "target_among_inputs")]


def test_a_column_listed_twice_is_refused() -> None:
    assert found(["a", "b", "a"], y=VALUE) == [("/inputs/x/columns", "duplicate_column")]
    (problem,) = column_problems(manifest(["a", "b", "a"], y=VALUE))
    assert "`a` more than once" in problem.detail
