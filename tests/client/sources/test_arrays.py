"""What is inferred of arrays, and that all of it can be said otherwise."""

from typing import Any

import numpy as np
import pandas
import pytest
import torch
from stillhouse import Unreadable
from stillhouse.sources.datasets import upload_of_dataset
from stillhouse.sources.upload import Wishes


def manifest(arrays: dict[str, Any], **wishes: Any) -> dict[str, Any]:
    return upload_of_dataset(arrays, Wishes(**wishes)).manifest


X = np.zeros((60, 5), dtype=np.float32)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.arange(60) % 4, {"kind": "class", "classes": 4}),
        (np.arange(60) % 4 - 1, {"kind": "class", "classes": 3}),
        (np.arange(60) % 4 + 1, {"kind": "value"}),
        (np.arange(60) * 7, {"kind": "value"}),
        (np.arange(60) % 2 == 0, {"kind": "class", "classes": 2}),
        (np.linspace(0, 1, 60), {"kind": "value"}),
        (np.array(["b", "a", ""] * 20), {"kind": "class", "classes": ["a", "b"]}),
        (np.array(["b", "a", "c"] * 20, dtype=object), {"kind": "class", "classes": ["a", "b", "c"]}),
        (["b", "a"] * 30, {"kind": "class", "classes": ["a", "b"]}),
        (torch.arange(60) % 3, {"kind": "class", "classes": 3}),
        (np.array([0.0, 1.0, np.nan] * 20), {"kind": "class", "classes": 2}),
        ([0, 1, None] * 20, {"kind": "class", "classes": 2}),
        (["a", None, "b"] * 20, {"kind": "class", "classes": ["a", "b"]}),
        (np.array([0.0, 1.0, 2.0] * 20), {"kind": "value"}),
        (np.array([0.5, 1.0, np.nan] * 20), {"kind": "value"}),
        (np.array([np.nan, np.inf, 1.0] * 20), {"kind": "value"}),
        (torch.ones(60, dtype=torch.bfloat16), {"kind": "value"}),
    ],
    ids=[
        "numbers", "missing", "from one", "amounts", "truth", "reals", "texts", "objects", "a list", "a tensor",
        "missing as NaN", "missing as None", "a missing text", "floats", "fractions", "infinite", "bfloat16",
    ],
)  # fmt: skip
def test_an_array_of_one_dimension_is_a_target_of_a_kind_that_fits_it(labels: Any, expected: dict[str, Any]) -> None:
    assert manifest({"x": X, "y": labels})["targets"] == {"y": expected}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (X, {"kind": "array"}),
        (np.zeros((60, 8, 8), np.uint8), {"kind": "array", "scale": 1 / 255, "shape": [1, 8, 8]}),
        (
            np.zeros((60, 8, 9, 3), np.uint8),
            {"kind": "array", "scale": 1 / 255, "shape": [8, 9, 3], "layout": "channels_last"},
        ),
        (np.zeros((60, 3, 8, 9), np.float32), {"kind": "array", "shape": [3, 8, 9]}),
        (np.zeros((60, 2, 100)), {"kind": "array", "shape": [2, 100]}),
    ],
    ids=["flat", "grey", "colour", "channels first", "series"],
)
def test_the_shape_of_rows_says_what_they_are(rows: Any, expected: dict[str, Any]) -> None:
    assert manifest({"x": rows})["inputs"] == {"x": expected}


def test_a_split_column_is_found_and_what_is_said_goes_before_what_is_inferred() -> None:
    split = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    arrays = {"x": X, "y": np.arange(60) % 3, "split": split, "size": np.zeros((60, 2))}
    assert manifest(arrays) == {
        "name": "arrays",
        "format": "npz",
        "inputs": {"x": {"kind": "array"}, "size": {"kind": "array"}},
        "targets": {"y": {"kind": "class", "classes": 3}},
        "splits": {"column": "split"},
    }
    said = manifest(
        arrays,
        name="mine",
        inputs={"x": {"standardize": False}},
        targets=["size", "y"],
        splits={"fractions": {"train": 1.0}},
        manifest={"metadata": {"a": "b"}},
    )
    assert said["inputs"] == {"x": {"kind": "array", "standardize": False}}
    assert said["targets"] == {"size": {"kind": "vector"}, "y": {"kind": "class", "classes": 3}}
    assert (said["name"], said["splits"], said["metadata"]) == ("mine", {"fractions": {"train": 1.0}}, {"a": "b"})


def test_the_file_is_always_the_same_and_reads_back() -> None:
    arrays: dict[str, Any] = {"x": X + 1, "file": np.arange(60)}
    contents = []
    for _ in range(2):
        (part,) = upload_of_dataset(arrays, Wishes()).files
        with part.open() as file:
            contents.append(file.read())
            file.seek(0)
            with np.load(file) as read:
                assert read["x"].tolist() == arrays["x"].tolist()
                assert read["file"].tolist() == list(range(60))
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "y": np.zeros(5)}, "equally many rows"),
        ({"y": np.zeros(5)}, "two or more dimensions as input"),
        ({"x": [[1], [object()]]}, "numbers or texts"),
        ({"x": [[1], [1, 2]]}, "expected `x` to hold"),
        ({"x": X, "y": np.ma.array(np.arange(60) % 3, mask=np.arange(60) == 5)}, "without a mask"),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0, int)}, "at least one row"),
        ({"x": X, 7: np.zeros(60)}, "names of arrays as texts"),
        ({"x": X, "y": np.array([f"name {i}" for i in range(59)] + [""])}, None),
        ({"x": X, "y": np.array(["a"] * 60)}, "2 to 1000 classes"),
    ],
)
def test_what_no_dataset_can_be_made_of_is_said(arrays: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert len(manifest(arrays)["targets"]["y"]["classes"]) == 59
        return
    with pytest.raises(Unreadable, match=message):
        manifest(arrays)


def test_a_mask_of_nothing_is_no_mask() -> None:
    whole = np.ma.array(np.arange(60) % 3, mask=False)
    assert manifest({"x": X, "y": whole})["targets"] == {"y": {"kind": "class", "classes": 3}}


def test_what_is_known_of_a_target_may_be_nothing_but_no_other_thing() -> None:
    assert manifest({"x": X, "y": np.arange(60) % 3}, targets={"y": None})["targets"]["y"]["classes"] == 3
    for wrong in ({"y": "class"}, 7, [7]):
        with pytest.raises(Unreadable, match=r"expected (what is known|names)"):
            manifest({"x": X, "y": np.arange(60) % 3}, targets=wrong)


@pytest.mark.parametrize("spec", [{"column": ["y"]}, {"columns": 7}])
def test_a_description_that_nothing_can_be_made_of_is_said(spec: dict[str, Any]) -> None:
    frame = pandas.DataFrame({"x": np.zeros(60), "y": np.arange(60) % 3})
    for source in ({"x": X, "y": np.arange(60) % 3}, frame):
        with pytest.raises(Unreadable, match="expected the dataset"):
            upload_of_dataset(source, Wishes(targets={"y": spec}))


def test_a_name_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(Unreadable, match=r"expected an array `z`, found \['x'\]"):
        manifest({"x": X}, targets="z")
