"""Labels: in range or refused with their row, missing where they are missing, never another class."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter

from app.contracts.resources.manifests import TargetSpec
from tests.engine.jobs.inspection.uploads import read, refused
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.labels.columns import class_column, number_column

TARGET: TypeAdapter[TargetSpec] = TypeAdapter(TargetSpec)
Array = NDArray[Any]
NAN = np.nan


def classes(raw: Array, of: Any = 2) -> TargetColumn:
    spec = TARGET.validate_json(json.dumps({"kind": "class", "classes": of}))
    assert spec.kind == "class"
    return class_column("y", spec, raw)


def numbers(kind: str, *columns: Array, **spec: Any) -> TargetColumn:
    return number_column("y", TARGET.validate_json(json.dumps({"kind": kind, **spec})), columns)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64, np.float16, np.float32, np.float64])
def test_integers_of_any_type_are_classes(dtype: type[np.generic]) -> None:
    found = classes(np.array([0, 1, 1, 0], dtype))
    assert found.values.tolist() == [0, 1, 1, 0]
    assert found.labelled.all()
    assert classes(np.array([[0], [1]], dtype)).values.tolist() == [0, 1]


def test_minus_one_and_nan_are_missing() -> None:
    found = classes(np.array([1.0, -1.0, NAN, 0.0]))
    assert found.values.tolist() == [1, -1, -1, 0]
    assert found.labelled.tolist() == [True, False, False, True]
    assert classes(np.array([True, False])).values.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (2, "`y` is 2 at row 3: expected 0 to 1, or -1 where missing"),
        (-2, "is -2 at row 3"),
        (1.5, "is 1.5 at row 3"),
        (-0.5, "is -0.5 at row 3"),
        (np.inf, "is inf at row 3"),
        (-np.inf, "is -inf at row 3"),
        (1e308, "at row 3"),
        (2**63 - 1, "is 9223372036854775807 at row 3"),
    ],
)
def test_a_label_out_of_range_is_refused_with_its_row(label: float, expected: str) -> None:
    assert expected in refused("label_out_of_range", lambda: classes(np.array([0, 1, 0, label, label])))


def test_labels_of_another_shape_are_refused_with_it() -> None:
    assert "found shape [3, 3]" in refused("shape_mismatch", lambda: classes(np.zeros((3, 3))))
    assert "found shape [3, 1, 1]" in refused("shape_mismatch", lambda: classes(np.zeros((3, 1, 1))))


def test_names_are_classes_in_the_manifests_order() -> None:
    found = classes(np.array(["dog", "cat", "", "dog"]), ["dog", "cat"])
    assert found.values.tolist() == [0, 1, -1, 0]
    assert found.classes == ("dog", "cat")
    assert classes(np.array(["dog", "NA", "null", "-1"]), ["dog", "cat"]).values.tolist() == [0, -1, -1, -1]


def test_a_name_that_the_manifest_has_not_is_refused_with_its_row() -> None:
    message = refused("label_out_of_range", lambda: classes(np.array(["cat", "bird", "ant"]), ["cat", "dog"]))
    assert "the label `ant` at row 2" in message
    assert len(refused("label_out_of_range", lambda: classes(np.array(["x" * 500, "cat"]), ["cat", "dog"]))) < 200
    assert "list them" in refused("label_out_of_range", lambda: classes(np.array(["cat", "dog"])))


def test_numbers_beside_names_are_their_places() -> None:
    assert classes(np.array([1, 0, -1]), ["cat", "dog"]).values.tolist() == [1, 0, -1]
    assert classes(np.array([1.0, 0.0, NAN]), ["cat", "dog"]).values.tolist() == [1, 0, -1]
    for label in (2, 1.5, np.inf):
        refused("label_out_of_range", partial(classes, np.array([0, label]), ["cat", "dog"]))


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.str_])
def test_names_that_are_numbers_are_names(dtype: type[np.generic]) -> None:
    """Trap: with the classes -1 and 1, the usual ones of a support vector machine, -1 is not missing."""
    assert classes(np.array([-1, 1, 1]).astype(dtype), ["-1", "1"]).values.tolist() == [0, 1, 1]
    assert classes(np.array([1, 0, 1]).astype(dtype), ["1", "0"]).values.tolist() == [0, 1, 0]
    assert classes(np.array([3, 1, 2]).astype(dtype), ["1", "2", "3"]).values.tolist() == [2, 0, 1]
    refused("label_out_of_range", lambda: classes(np.array([0, 1, 2]).astype(dtype), ["1", "2", "3"]))


WORDS = {
    "truths": ["true", "false"],
    "North America": ["EU", "NA"],
    "nothing": ["null", "NaN"],
    "signs": ["-1", "1"],
    "zeros in front": ["01", "00"],
    "dates": ["2020-01-02", "2020-01-01"],
    "times": ["12:30", "01:00"],
    "places in reverse": ["1", "0"],
    "floats": ["1.0", "0.5"],
}


@pytest.mark.parametrize("what", WORDS)
@pytest.mark.parametrize("kind", ["npz", "csv", "jsonl", "parquet"])
def test_a_word_is_a_class_in_every_format_whatever_it_looks_like(what: str, kind: str, tmp_path: Path) -> None:
    """Trap: a csv reader guesses types, and turned `true` into 1, the place of `false`, and `NA` into nothing."""
    first, second = WORDS[what]
    labels = [first, second, "", second]
    path = tmp_path / f"d.{kind}"
    if kind == "npz":
        np.savez(path, a=np.zeros(4), b=np.zeros(4), y=np.array(labels))
    elif kind == "csv":
        path.write_text("a,b,y\n" + "".join(f"0,0,{label}\n" for label in labels))
    elif kind == "jsonl":
        rows = [{"a": 0, "b": 0, "y": label or None} for label in labels]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pa.parquet.write_table(pa.table({"a": [0] * 4, "b": [0] * 4, "y": [label or None for label in labels]}), path)
    found = read(path, format=kind, targets={"y": {"kind": "class", "classes": WORDS[what]}})
    assert found.targets["y"].values.tolist() == [0, 1, -1, 1]


@pytest.mark.parametrize("empty", ["", "null", "NULL", "NaN", "nan", "NA"])
def test_an_empty_field_of_a_csv_is_a_missing_label(empty: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(f"a,b,y\n1,2,1\n1,2,{empty}\n1,2,0\n")
    assert read(tmp_path / "d.csv").targets["y"].values.tolist() == [1, -1, 0]
    (tmp_path / "d.csv").write_text(f"a,b,y\n1,2,dog\n1,2,{empty}\n1,2,cat\n")
    targets = {"y": {"kind": "class", "classes": ["cat", "dog"]}}
    assert read(tmp_path / "d.csv", targets=targets).targets["y"].values.tolist() == [1, -1, 0]


def test_a_dataset_may_have_no_label_at_all(tmp_path: Path) -> None:
    for field, kind in (("", "csv"), ("null", "jsonl")):
        row = f"1,2,{field}\n" if kind == "csv" else '{"a": 1, "b": 2, "y": null}\n'
        (tmp_path / f"d.{kind}").write_text(("a,b,y\n" if kind == "csv" else "") + row * 3)
        for of in (2, ["cat", "dog"]):
            found = read(tmp_path / f"d.{kind}", format=kind, targets={"y": {"kind": "class", "classes": of}})
            assert not found.targets["y"].labelled.any()


def test_values_and_vectors_are_missing_where_a_number_is() -> None:
    value = numbers("value", np.array([1.5, NAN, -2.0]))
    assert value.values.shape == (3,)
    assert value.labelled.tolist() == [True, False, True]
    vector = numbers("vector", np.array([1.0, NAN, 3.0]), np.array([4, 5, 6]), columns=["a", "b"])
    assert vector.size == 2
    assert vector.labelled.tolist() == [True, False, True]


def test_a_row_of_multilabels_is_labelled_where_any_label_is() -> None:
    found = numbers("multilabel", np.array([[1, 0], [NAN, 1], [NAN, NAN]]))
    assert found.labelled.tolist() == [True, True, False]
    for label in (2, -1, 0.5):
        message = refused("label_out_of_range", partial(numbers, "multilabel", np.array([[0, 1], [1, label]])))
        assert "must be 0, 1 or missing; row 1 is not" in message


NUMBERS: dict[str, tuple[str, Array, dict[str, Any], str, str]] = {
    "text": ("value", np.array(["1", "2"]), {}, "wrong_type", "`y` holds text"),
    "infinity": ("value", np.array([0.0, np.inf]), {}, "not_finite", "infinite at row 1"),
    "a double that float32 has not": ("vector", np.array([[0.0], [1e300]]), {}, "not_finite", "infinite at row 1"),
    "two numbers for a value": ("value", np.zeros((2, 2)), {}, "shape_mismatch", "2 numbers a row, expected 1"),
    "another size": ("vector", np.zeros((2, 3)), {"size": 4}, "shape_mismatch", "3 numbers a row, expected 4"),
}


@pytest.mark.parametrize("what", NUMBERS)
def test_targets_that_are_no_numbers_are_refused_with_what_was_found(what: str) -> None:
    kind, column, spec, code, expected = NUMBERS[what]
    assert expected in refused(code, lambda: numbers(kind, column, **spec))


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        ([1, 2, 3], 'seem to start at 1: subtract 1 from them, or name the classes: `"classes": ["1", "2", "3"]`'),
        ([0, 5, 9], 'Labels go from 0 to 9: set `classes` to 10, or name them: `"classes": ["0", "1", "2", …]`'),
        ([0.0, 1.5, 2.0], "is it a target of kind `value`?"),
        ([-7, 0, 1], "Number the classes from 0"),
    ],
)
def test_labels_of_another_convention_say_what_to_do(labels: list[float], part: str) -> None:
    message = refused("label_out_of_range", lambda: classes(np.array(labels), of=3))
    assert "expected 0 to 2, or -1 where missing" in message
    assert part in message
