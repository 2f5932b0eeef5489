"""Values that are none of the categories are counted by column and split, and told where they are many."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contracts.resources.facts import DatasetFacts
from app.contracts.resources.manifests import DatasetManifest
from tests.engine.data.tables.files import FORMATS, written
from workers.engine.data.facts import facts_of
from workers.engine.data.reading import read_dataset

SPLIT = ["train"] * 60 + ["validation"] * 20 + ["test"] * 20


def facts(folder: Path, kind: str, values: list[Any], **spec: Any) -> DatasetFacts:
    path = written(folder, kind, {"c": values, "s": SPLIT})
    inputs = {"x": {"kind": "category", "columns": ["c"], **spec}}
    document = {"name": "d", "format": kind, "inputs": inputs, "targets": {}, "splits": {"column": "s"}}
    manifest = DatasetManifest.model_validate_json(json.dumps(document))
    return facts_of(read_dataset(path, manifest), manifest)


def counts(found: DatasetFacts) -> dict[str, tuple[int, int]]:
    """(missing, unseen) by split."""
    by_split = (found.inputs["x"].column_counts or {})["c"]
    return {split: (each.missing, each.unseen) for split, each in by_split.items()}


def colours() -> list[Any]:
    return [str(each) for each in np.random.default_rng(0).choice(["red", "green", "blue"], 100)]


@pytest.mark.parametrize("kind", FORMATS)
def test_missing_and_unseen_values_are_counted_by_split(kind: str, tmp_path: Path) -> None:
    values = colours()
    values[:2] = values[60:63] = [None, None]
    values[80:84] = ["black"] * 4
    found = facts(tmp_path, kind, values + colours()[:1])
    assert counts(found) == {"train": (2, 0), "validation": (2, 0), "test": (0, 4)}
    (warning,) = (each for each in found.warnings if each.code == "unseen_categories")
    assert "(`black`) in 4 rows of test (20.0%)" in warning.message


@pytest.mark.parametrize("kind", FORMATS)
def test_a_list_in_another_spelling_is_told(kind: str, tmp_path: Path) -> None:
    """Trap: every row was in the last slot, and the student at chance."""
    found = facts(tmp_path, kind, colours(), categories={"c": ["Red", "Green", "Blue"]})
    assert counts(found) == {"train": (0, 60), "validation": (0, 20), "test": (0, 20)}
    (warning,) = (each for each in found.warnings if each.code == "unseen_categories")
    assert "no row has the category `Red`, `Green` and `Blue`" in warning.message.replace("`, `Blue`", "` and `Blue`")
    assert "letter by letter" in warning.message


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        (["red", "green", "blue"], False),
        (["red", "green", "blue", "pink"], False),  # a category that is not there yet, and nothing unseen
        (["red", "green", "blue", "violet"], True),  # one that is not there, beside one that is spelt otherwise
    ],
)
def test_a_list_that_has_all_values_is_not_told(listed: list[str], told: bool, tmp_path: Path) -> None:
    values = colours()
    values[5] = "Violet" if told else values[5]
    found = facts(tmp_path, "parquet", values, categories={"c": listed})
    assert ("unseen_categories" in {each.code for each in found.warnings}) == told


def test_a_few_unseen_values_of_another_split_are_counted_and_not_told(tmp_path: Path) -> None:
    found = facts(tmp_path, "parquet", [*colours()[:99], "black"])
    assert counts(found)["test"] == (0, 1)
    assert found.warnings == ()


@pytest.mark.parametrize("kind", FORMATS)
def test_words_for_nothing_are_text_where_the_format_has_null(kind: str, tmp_path: Path) -> None:
    """NA is Namibia where a missing value is written as null; a csv has no other way to write it."""
    values = (["NA", "None", "EU", None] * 25)[:100]
    found = facts(tmp_path, kind, values)
    encoding = found.inputs["x"].encoding
    assert encoding is not None
    assert encoding.categories == ((("EU",) if kind == "csv" else ("EU", "NA", "None")),)
    assert counts(found)["train"] == ((45 if kind == "csv" else 15), 0)


@pytest.mark.parametrize("kind", FORMATS)
def test_missing_numbers_are_counted_by_column_and_split(kind: str, tmp_path: Path) -> None:
    numbers: list[Any] = list(range(100))
    numbers[3] = numbers[70] = numbers[71] = None
    path = written(tmp_path, kind, {"a": [*map(float, range(100))], "b": numbers, "s": SPLIT})
    inputs = {"x": {"kind": "array", "columns": ["a", "b"], "missing": "mean"}}
    document = {"name": "d", "format": kind, "inputs": inputs, "targets": {}, "splits": {"column": "s"}}
    manifest = DatasetManifest.model_validate_json(json.dumps(document))
    found = facts_of(read_dataset(path, manifest), manifest).inputs["x"].column_counts
    assert found is not None
    assert {column: {split: each.missing for split, each in by.items()} for column, by in found.items()} == {
        "b": {"train": 1, "validation": 2, "test": 0}
    }
