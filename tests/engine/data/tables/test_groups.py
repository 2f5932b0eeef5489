"""Splits by group and in order: no group in two splits, the same from the same seed, refused where it cannot be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.problems import UserError
from app.contracts.resources.splits import FractionSplits
from tests.engine.data.tables.files import FORMATS, written
from tests.engine.jobs.inspection.uploads import read, refused
from workers.engine.data.splits import split_by_fractions
from workers.engine.data.tables.groups import MOST_DIFFERENCE, groups_of

FRACTIONS: dict[str, float] = {"train": 0.6, "validation": 0.2, "test": 0.2}


def splits_of(folder: Path, kind: str, groups: list[Any], **splits: Any) -> dict[str, list[int]]:
    path = written(folder, kind, {"a": list(range(len(groups))), "patient": groups})
    spec = {"fractions": FRACTIONS, **splits}
    found = read(path, format=kind, inputs={"a": {"kind": "array"}}, targets={}, splits=spec)
    return {name: rows.tolist() for name, rows in found.splits.items()}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 400), st.integers(0, 2**31 - 1))
def test_no_group_is_in_two_splits_and_every_row_is_in_one(groups: int, rows: int, seed: int) -> None:
    numbers = groups_of("g", np.random.default_rng(seed).integers(0, groups, rows))
    spec = FractionSplits(fractions={"train": 0.6, "validation": 0.2, "test": 0.2}, seed=seed, group="g")
    try:
        found = split_by_fractions(spec, rows, None, numbers)
    except UserError:
        assert groups < 40 or rows < 100, "few groups, which need not allow these fractions"
        return
    assert sorted(row for split in found.values() for row in split.tolist()) == list(range(rows))
    parts = [set(numbers[split.numpy()].tolist()) for split in found.values()]
    assert sum(map(len, parts)) == len(set().union(*parts))
    for name, split in found.items():
        assert abs(len(split) / rows - FRACTIONS[name]) <= MOST_DIFFERENCE


@pytest.mark.parametrize("kind", FORMATS)
def test_groups_of_numbers_and_of_names_are_dealt_alike_in_every_format(kind: str, tmp_path: Path) -> None:
    numbers = (np.arange(200) % 23).tolist()
    found = splits_of(tmp_path, kind, numbers, group="patient")
    assert found == splits_of(tmp_path, "npz", numbers, group="patient")
    assert found == splits_of(tmp_path, kind, [float(number) for number in numbers], group="patient")
    assert found != splits_of(tmp_path, kind, numbers, group="patient", seed=1)
    named = splits_of(tmp_path, kind, [f"p{number}" for number in numbers], group="patient")
    assert {name: len(rows) for name, rows in named.items()} == {"train": 120, "validation": 40, "test": 40} or all(
        abs(len(named[name]) / 200 - share) < 0.05 for name, share in FRACTIONS.items()
    )


def test_a_group_may_be_an_input_too(tmp_path: Path) -> None:
    """Trap: a csv has no types, and a column that is read as text would be no number."""
    years = (np.arange(40) % 10 + 2000).tolist()
    path = written(tmp_path, "csv", {"year": years})
    inputs = {"x": {"kind": "array", "columns": ["year"]}}
    found = read(path, inputs=inputs, targets={}, splits={"fractions": FRACTIONS, "group": "year"})
    assert found.inputs["x"].flatten().tolist() == years


def test_a_few_large_groups_come_as_near_as_they_can(tmp_path: Path) -> None:
    groups = np.repeat(["a", "b", "c", "d"], [60, 20, 15, 5]).tolist()
    found = splits_of(tmp_path, "npz", groups, group="patient")
    assert {name: len(rows) for name, rows in found.items()} == {"train": 60, "validation": 20, "test": 20}


BAD: dict[str, tuple[list[Any], str]] = {
    "two groups for three splits": (["a", "b"] * 10, "has 2 groups, the largest of 10 rows of 20"),
    "one group of nearly all": (["a"] * 95 + ["b", "c", "d", "e", "f"], "the nearest to the `fractions` is train 0.95"),
    "a row without a group": (["a", None, "b"], "no group at row 1"),
}


@pytest.mark.parametrize("what", BAD)
def test_groups_that_cannot_be_split_so_are_refused_with_what_they_allow(what: str, tmp_path: Path) -> None:
    groups, fragment = BAD[what]
    assert fragment in refused("bad_split", lambda: splits_of(tmp_path, "npz", groups, group="patient"))


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_in_order_are_cut_in_order(kind: str, tmp_path: Path) -> None:
    found = splits_of(tmp_path, kind, list(range(10)), shuffle=False)
    assert found == {"train": [0, 1, 2, 3, 4, 5], "validation": [6, 7], "test": [8, 9]}
