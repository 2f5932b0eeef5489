"""What is inferred of a pandas frame, and that a real service takes it."""

from typing import Any

import numpy as np
import pandas
import pytest
from stillhouse import Client, Unreadable
from stillhouse.sources import frames
from stillhouse.sources.datasets import upload_of_dataset
from stillhouse.sources.upload import Wishes


@pytest.fixture
def frame() -> pandas.DataFrame:
    draw = np.random.default_rng(0)
    rows = 200
    return pandas.DataFrame(
        {
            "age": draw.integers(18, 80, rows),
            "income": np.where(draw.random(rows) < 0.1, np.nan, draw.random(rows)),
            "member": draw.random(rows) < 0.5,
            "since": pandas.to_datetime("2020-01-01") + pandas.to_timedelta(draw.integers(0, 999, rows), unit="D"),
            "colour": [["red", "blue", None][i] for i in draw.integers(0, 3, rows)],
            "size": pandas.Categorical(draw.choice(["s", "m", "l"], rows)),
            "note": [f"a note of its own, number {i}" for i in range(rows)],
            "bought": draw.choice(["yes", "no"], rows),
            "price": draw.random(rows),
            "split": draw.choice(["train", "validation", "test"], rows, p=[0.6, 0.2, 0.2]),
        }
    )


def manifest(frame: pandas.DataFrame, **wishes: Any) -> dict[str, Any]:
    return upload_of_dataset(frame, Wishes(**wishes)).manifest


def test_columns_are_numbers_categories_texts_targets_and_splits(frame: pandas.DataFrame) -> None:
    found = manifest(frame, targets=["bought", "price"])
    assert found["inputs"] == {
        "numbers": {"kind": "array", "columns": ["age", "income", "member", "since"], "missing": "mean"},
        "categories": {"kind": "category", "columns": ["colour", "size"]},
        "note": {"kind": "text", "columns": ["note"]},
    }
    assert found["targets"] == {"bought": {"kind": "class", "classes": ["no", "yes"]}, "price": {"kind": "value"}}
    assert found["splits"] == {"column": "split"}
    assert found["format"] == "parquet"


def test_every_inference_can_be_said_otherwise(frame: pandas.DataFrame) -> None:
    found = manifest(frame, inputs=["age", "note"], targets={"age_known": {"column": "member"}}, splits={"column": "s"})
    assert list(found["inputs"]) == ["numbers", "note"]
    assert found["inputs"]["numbers"] == {"kind": "array", "columns": ["age"]}
    assert found["targets"] == {"age_known": {"kind": "class", "classes": 2, "column": "member"}}
    assert found["splits"] == {"column": "s"}
    own = {"x": {"kind": "array", "columns": ["age"], "missing": "median"}}
    assert manifest(frame, inputs=own)["inputs"] == own
    assert manifest(frame, manifest={"weights": {"price": {}}})["inputs"]["numbers"]["columns"][-1] == "since"


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_service_takes_the_frame_and_reads_what_was_inferred(
    client: Client, frame: pandas.DataFrame, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "csv":
        monkeypatch.setattr(frames, "find_spec", lambda _: None)  # as without pyarrow
    dataset = client.datasets.upload(frame.drop(columns="note"), name=form, targets=["bought", "price"])
    assert (dataset.format, dataset.rows) == (form, 200)
    assert dataset.splits == frame["split"].value_counts().to_dict()
    assert dataset.inputs["categories"]["columns"] == ["colour", "size"]
    assert dataset.targets["bought"]["classes"] == ["no", "yes"]


def test_wrong_columns_are_named(frame: pandas.DataFrame) -> None:
    with pytest.raises(Unreadable, match="expected a column `prize`"):
        manifest(frame, targets="prize")
    with pytest.raises(Unreadable, match="found two of one name"):
        manifest(pandas.DataFrame(np.zeros((3, 2)), columns=["a", "a"]))
    with pytest.raises(Unreadable, match="2 to 1000 classes"):
        manifest(frame.assign(note=[f"n{i}" for i in range(199)] + ["n0"]).assign(bought="yes"), targets="bought")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0.0, 1.0, np.nan] * 20, {"kind": "class", "classes": 2}),
        ([0.0, 1.5, np.nan] * 20, {"kind": "value"}),
        ([0.0, 1.0, 2.0] * 20, {"kind": "value"}),
        (pandas.array([0, 1, None] * 20, dtype="Int64"), {"kind": "class", "classes": 2}),
        (pandas.Categorical(["low", "high", "mid"] * 20, ["low", "mid", "high", "none"]), ["low", "mid", "high"]),
        (np.array([9, 10, 11] * 20, dtype=object), ["9", "10", "11"]),
        ([np.nan] * 60, {"kind": "value"}),
    ],
    ids=["missing", "fractions", "floats", "of pandas", "ordered", "objects", "nothing"],
)
def test_labels_of_a_frame_are_what_they_say(labels: Any, expected: Any) -> None:
    frame = pandas.DataFrame({"x": np.arange(60.0), "y": labels})
    said = {"kind": "class", "classes": expected} if isinstance(expected, list) else expected
    assert manifest(frame, targets="y")["targets"]["y"] == said


def test_a_column_that_no_file_can_hold_is_said_in_words() -> None:
    frame = pandas.DataFrame({"x": np.arange(3.0), "odd": [object(), 1, {"a"}]})
    (part,) = upload_of_dataset(frame, Wishes(inputs=["x"])).files
    with pytest.raises(Unreadable, match="odd"), part.open():
        pass
    with pytest.raises(Unreadable, match="expected the column"):
        manifest(frame.assign(odd=[{"a"}, {"b"}, {"a"}]), targets="odd")
