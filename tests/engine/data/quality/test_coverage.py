"""Splits without a frequent class, and targets and inputs that are constant, of every kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.contracts.resources.facts import DatasetFacts
from tests.engine.data.quality.test_warnings import CLASS2, VALUE, facts, table

Array = NDArray[Any]
ORDERED: dict[str, Any] = {"splits": {"fractions": {"train": 0.7, "validation": 0.15, "test": 0.15}, "shuffle": False}}
MULTILABEL: dict[str, Any] = {"kind": "multilabel"}


def codes(found: DatasetFacts) -> list[str]:
    return [warning.code for warning in found.warnings]


def labels(rows: int = 600, columns: int = 3) -> Array:
    return np.random.default_rng(2).integers(0, 2, (rows, columns)).astype(np.float32)


def test_a_file_sorted_by_class_in_ordered_splits_is_told_for_both_splits(tmp_path: Path) -> None:
    y = np.sort(np.random.default_rng(1).integers(0, 2, 600))
    found = facts(tmp_path, table(), y, CLASS2, **ORDERED)
    assert codes(found) == ["class_missing_in_split"] * 2
    for warning, split in zip(found.warnings, ("validation", "test"), strict=True):
        assert f"the {split} split has 90 labels of `y`, none of them `0`" in warning.message


def test_labels_that_are_never_or_always_1_in_a_split_are_told(tmp_path: Path) -> None:
    y = labels()
    y[420:510, 0], y[510:, 2] = 0.0, 1.0
    found = facts(tmp_path, table(), y, MULTILABEL, **ORDERED)
    assert codes(found) == ["class_missing_in_split"] * 2
    assert "none of them `y[0]=1`" in found.warnings[0].message
    assert "none of them `y[2]=0`" in found.warnings[1].message


def test_a_rare_class_that_a_split_lacks_by_chance_is_not_told(tmp_path: Path) -> None:
    y = np.zeros(600, np.int64)
    y[:14] = 1
    assert codes(facts(tmp_path, table(), y, CLASS2, **ORDERED)) == []


CONSTANT: dict[str, tuple[Array, dict[str, Any], str]] = {
    "a label that is never 1": (labels() * [1, 0, 1], MULTILABEL, "1 of the 3 labels of `y`"),
    "a label that is always 1": (np.maximum(labels(), [0, 0, 1]), MULTILABEL, "(`y[2]`)"),
    "a label that is never known": (labels() + np.array([0, np.nan, 0]), MULTILABEL, "(`y[1]`)"),
    "a value": (np.full(600, 3.5), VALUE, "1 of the 1 numbers of `y`"),
    "all numbers of a vector": (np.ones((600, 2)), {"kind": "vector"}, "2 of the 2 numbers"),
}


@pytest.mark.parametrize("what", CONSTANT)
def test_a_constant_target_is_told(what: str, tmp_path: Path) -> None:
    y, target, part = CONSTANT[what]
    found = facts(tmp_path, table(), y, target)
    (message,) = (warning.message for warning in found.warnings if warning.code == "constant_target")
    assert part in message


def test_one_constant_number_of_a_vector_is_ordinary(tmp_path: Path) -> None:
    assert codes(facts(tmp_path, table(), table(seed=1) * [1, 0, 1, 1, 1], {"kind": "vector"})) == []


def test_an_input_of_equal_rows_is_told_and_a_constant_column_is_not(tmp_path: Path) -> None:
    y = np.random.default_rng(1).integers(0, 2, 600)
    assert codes(facts(tmp_path, table() * [1, 0, 0, 0, 0], y, CLASS2)) == []
    found = facts(tmp_path, np.full((600, 5), 7.0), y, CLASS2)
    assert "constant_input" in codes(found)
    assert "the input `x` is the same in all 420 rows" in found.warnings[0].message


def test_missing_labels_are_counted_for_each_label(tmp_path: Path) -> None:
    y = labels()
    y[::3, 0] = np.nan
    y[:3] = np.nan
    found = facts(tmp_path, table(), y, MULTILABEL, splits={"fractions": {"train": 1.0}})
    train = found.targets["y"].statistics["train"]
    assert (train.missing, train.labelled) == (3, 597)
    assert train.missing_by_label == (202, 3, 3)
