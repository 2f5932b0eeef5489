"""Inputs of categories: the categories of the training split, one slot for all others, kept with the student."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tests.engine.data.tables.files import FORMATS, written
from tests.engine.harness import EngineHarness, report_of
from tests.engine.jobs.inspection.uploads import read, refused
from workers.engine.data.dataset import Dataset

COLOURS = ["red", "blue", None, "red", "green", "blue"]
SPLIT = ["train", "train", "train", "train", "test", "test"]


def categories(folder: Path, kind: str = "csv", column: list[Any] | None = None, **spec: Any) -> Dataset:
    path = written(folder, kind, {"c": column or COLOURS, "n": [3, 1, 2, 10, 1, 7], "s": SPLIT})
    inputs = {"x": {"kind": "category", "columns": ["c"], **spec}}
    return read(path, format=kind, inputs=inputs, targets={}, splits={"column": "s"})


@pytest.mark.parametrize("kind", FORMATS)
def test_unseen_and_missing_values_share_the_last_slot(kind: str, tmp_path: Path) -> None:
    """Trap: categories of the test split would leak it, and a row of zeros would be unlike any row of training."""
    found = categories(tmp_path, kind)
    assert found.inputs["x"].dtype == torch.uint8
    assert found.inputs["x"].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    encoding = found.transforms["x"].encoding
    assert encoding is not None
    assert encoding.categories == (("blue", "red"),)


@pytest.mark.parametrize("kind", FORMATS)
def test_ordinal_numbers_follow_the_order_of_the_categories(kind: str, tmp_path: Path) -> None:
    found = categories(tmp_path, kind, encoding="ordinal", categories={"c": ["green", "red"]})
    assert found.inputs["x"].tolist() == [[1.0], [2.0], [2.0], [1.0], [0.0], [2.0]]


@pytest.mark.parametrize("kind", FORMATS)
def test_numbers_are_sorted_by_size_and_columns_stand_side_by_side(kind: str, tmp_path: Path) -> None:
    """Trap: as text 10 comes before 2."""
    found = categories(tmp_path, kind, columns=["n", "c"], encoding="ordinal")
    encoding = found.transforms["x"].encoding
    assert encoding is not None
    assert encoding.columns == ("n", "c")
    assert encoding.categories == (("1", "2", "3", "10"), ("blue", "red"))
    assert found.inputs["x"].tolist() == [[2.0, 1.0], [0.0, 0.0], [1.0, 2.0], [3.0, 1.0], [0.0, 2.0], [4.0, 0.0]]


SPELLINGS: dict[str, list[Any]] = {
    "integers that became floats": [1.0, 2.0, None, 1.0, 2.0, 1.0],
    "integers": [1, 2, None, 1, 2, 1],
    "booleans": [True, False, True, True, False, True],
}


@pytest.mark.parametrize("what", SPELLINGS)
def test_a_category_is_spelt_alike_in_every_format(what: str, tmp_path: Path) -> None:
    found = [categories(tmp_path, kind, SPELLINGS[what]) for kind in FORMATS]
    encodings = [each.transforms["x"].encoding for each in found]
    assert encodings[0] is not None
    assert encodings[0].categories == ((("false", "true") if what == "booleans" else ("1", "2")),)
    for each, encoding in zip(found, encodings, strict=True):
        assert encoding == encodings[0]
        assert torch.equal(each.inputs["x"], found[0].inputs["x"])


def test_rows_of_several_categories_under_one_key_are_columns(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.array([["a", "u"], ["b", "v"], ["a", "v"]]))
    found = read(tmp_path / "d.npz", format="npz", inputs={"x": {"kind": "category"}}, targets={})
    assert found.inputs["x"].tolist() == [[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0], [1, 0, 0, 0, 1, 0]]


def test_a_category_that_no_name_can_hold_is_escaped(tmp_path: Path) -> None:
    """Trap: facts with a lone surrogate, a NUL or a tab could not be stored."""
    (tmp_path / "d.jsonl").write_text('{"c": "a\\tb"}\n{"c": "\\ud800"}\n{"c": "' + "x" * 500 + '"}\n')
    found = read(tmp_path / "d.jsonl", format="jsonl", inputs={"x": {"kind": "category", "columns": ["c"]}}, targets={})
    encoding = found.transforms["x"].encoding
    assert encoding is not None
    assert encoding.categories == (("\\ud800", "a\\tb", "x" * 200),)
    assert found.inputs["x"].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "a column for each row": ({"column": list(range(6000))}, "too_many_categories", "4200 in the column `c`"),
    "no value in training": ({"column": [None, None, None, None, "a", "b"]}, "no_category", "`c` has no value"),
}


@pytest.mark.parametrize("what", BAD)
def test_columns_that_are_no_categories_are_refused_with_the_way_out(what: str, tmp_path: Path) -> None:
    spec, code, fragment = BAD[what]
    values = spec["column"]
    path = written(tmp_path, "csv", {"c": values, "n": list(range(len(values)))})
    splits = {"fractions": {"train": 0.7, "test": 0.3}, "shuffle": False}
    inputs = {"x": {"kind": "category", "columns": ["c"]}}

    def call() -> Dataset:
        return read(path, inputs=inputs, targets={}, splits=splits)

    message = refused(code, call, more=3 << 30)
    assert fragment in message
    assert "leave" in message


TRAINING: dict[str, Any] = {"epochs": 15, "batch_size": 16, "learning_rate": 0.05}


def test_a_student_keeps_the_categories_that_it_was_trained_on(tmp_path: Path) -> None:
    engine = EngineHarness(tmp_path)
    draw = np.random.default_rng(0)
    colour = draw.choice(["red", "green", "blue"], 120)
    arrays = {"c": colour, "y": (colour == "red").astype(int)}
    inputs = {"c": {"kind": "category"}}
    data = engine.dataset(arrays, inputs=inputs, targets={"y": {"kind": "class", "classes": 2}})
    assert data.facts is not None
    assert data.facts.inputs["c"].encoding is not None
    outcome = engine.run({"kind": "train", "model": {"family": "mlp", "hidden": [8]}, "training": TRAINING})
    kept = outcome.student.inputs["c"].encoding
    assert kept == data.facts.inputs["c"].encoding
    assert kept is not None
    assert kept.categories == (("blue", "green", "red"),)
    with safe_open(engine.outputs() / "student.safetensors", "pt") as file:
        (metadata,) = (json.loads(text) for text in file.metadata().values())
    assert metadata["inputs"]["c"]["encoding"]["categories"] == [["blue", "green", "red"]]
    assert "`c` holds `c`: one_hot of the `categories`, as `encoding` in `inputs` says." in metadata["card"]
    assert report_of(outcome).student.tasks["y"]["accuracy"] == 1.0
