"""Row weights of a dataset: read in every format, counted by split, refused where they are no weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contracts.problems import UserError
from app.contracts.resources.facts import DatasetFacts
from app.contracts.resources.manifests import DatasetManifest
from tests.engine.data.tables.files import FORMATS, Table, written
from workers.engine.data.dataset import Dataset
from workers.engine.data.facts import facts_of
from workers.engine.data.reading import read_dataset

ROWS = 20
WEIGHTS = [0.0, 1.0, 2.0, 5.0] * 5


def read(folder: Path, weights: list[Any], kind: str = "npz") -> tuple[Dataset, DatasetFacts]:
    """A table with these weights in the column `trust`, named `w`; the last quarter is the test split."""
    table: Table = {"x": [float(i * i % 7) for i in range(ROWS)], "y": [i % 2 for i in range(ROWS)], "trust": weights}
    path = written(folder, kind, table)
    document = {
        "name": "d",
        "format": kind,
        "inputs": {"x": {"kind": "array"}},
        "targets": {"y": {"kind": "class", "classes": 2}},
        "weights": {"w": {"column": "trust"}},
        "splits": {"fractions": {"train": 0.75, "test": 0.25}, "shuffle": False},
    }
    manifest = DatasetManifest.model_validate_json(json.dumps(document))
    dataset = read_dataset(path, manifest)
    return dataset, facts_of(dataset, manifest)


@pytest.mark.parametrize("kind", FORMATS)
def test_weights_are_read_in_every_format_and_counted_by_split(tmp_path: Path, kind: str) -> None:
    dataset, facts = read(tmp_path, WEIGHTS, kind)
    assert dataset.weights["w"].tolist() == WEIGHTS
    train, test = facts.weights["w"]["train"], facts.weights["w"]["test"]
    assert set(facts.weights["w"]) == {"train", "test"}
    values = np.array(WEIGHTS[:15])
    assert (train.rows, train.zeros, train.minimum, train.maximum) == (15, 4, 0.0, 5.0)
    assert train.sum == values.sum()
    assert train.effective == pytest.approx(values.sum() ** 2 / (values**2).sum())
    assert (test.rows, test.zeros, test.sum) == (5, 1, sum(WEIGHTS[15:]))
    assert DatasetFacts.model_validate_json(facts.model_dump_json()) == facts


@pytest.mark.parametrize(
    ("wrong", "words"), [(-1.0, "-1.0 at row 3"), (None, "nan at row 3"), (float("inf"), "inf at row 3")]
)
def test_a_weight_that_is_missing_negative_or_infinite_is_refused_by_row(
    tmp_path: Path, wrong: float | None, words: str
) -> None:
    with pytest.raises(UserError) as found:
        read(tmp_path, [1.0, 1.0, 2.0, wrong, *WEIGHTS[4:]])
    assert found.value.code == "wrong_weight"
    assert words in found.value.message


def test_weights_that_are_all_zero_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="all 0"):
        read(tmp_path, [0.0] * ROWS)


@pytest.mark.parametrize(
    ("weights", "code"),
    [
        ([3.0] * ROWS, "constant_row_weights"),
        ([100.0, *[1.0] * (ROWS - 1)], "uneven_row_weights"),
        (WEIGHTS, None),
        ([1.0, 2.0] * 10, None),
        ([19.0 if i == 0 else 1.0 for i in range(ROWS)], None),
    ],
)
def test_weights_that_change_nothing_or_leave_few_rows_give_a_warning(
    tmp_path: Path, weights: list[float], code: str | None
) -> None:
    _, facts = read(tmp_path, weights)
    assert [each.code for each in facts.warnings if "row_weights" in each.code] == ([code] if code else [])
