"""The same values mean the same in npz, parquet, csv and jsonl: every value in every format, or the reason why not."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.engine.data.tables.files import FORMATS, written
from tests.engine.jobs.inspection.uploads import read, refused

NO_YES = ["no", "yes"]
Classes = int | list[str]

LABELS: dict[str, tuple[list[Any], Classes, list[int]]] = {
    "integers": ([0, 1, 1], 2, [0, 1, 1]),
    "1.0 as a place": ([0.0, 1.0, 1.0], 2, [0, 1, 1]),
    "1.0 as a place of a named class": ([0.0, 1.0, 1.0], NO_YES, [0, 1, 1]),
    "1.0 as the class 1": ([0.0, 1.0, 1.0], ["1", "0"], [1, 0, 0]),
    "1 as the class 1.0": ([0, 1, 1], ["1.0", "0.0"], [1, 0, 0]),
    "1.0 as the class 1.0": ([0.0, 1.0, 1.0], ["1.0", "0.0"], [1, 0, 0]),
    "0.5 as the class 0.50": ([0.5, 1.0, 1.0], ["1.0", "0.50"], [1, 0, 0]),
    "integers that a missing one turned into floats": ([0, None, 1], NO_YES, [0, -1, 1]),
    "integers beside a missing one": ([0, None, 1], 2, [0, -1, 1]),
    "-1": ([0, -1, 1], 2, [0, -1, 1]),
    "-1 of a named class": ([0, -1, 1], NO_YES, [0, -1, 1]),
    "-1.0 of a named class": ([0.0, -1.0, 1.0], NO_YES, [0, -1, 1]),
    "-1 as the class -1": ([-1, 1, 1], ["-1", "1"], [0, 1, 1]),
    "-1.0 as the class -1": ([-1.0, 1.0, 1.0], ["-1", "1"], [0, 1, 1]),
    "booleans as places": ([True, False, True], 2, [1, 0, 1]),
    "booleans as places of named classes": ([True, False, True], NO_YES, [1, 0, 1]),
    "booleans as the classes true and false": ([True, False, True], ["true", "false"], [0, 1, 0]),
    "booleans as the classes True and False": ([True, False, True], ["True", "False"], [0, 1, 0]),
    "booleans as the classes 1 and 0": ([True, False, True], ["1", "0"], [0, 1, 0]),
    "booleans beside a missing one": ([True, None, False], 2, [1, -1, 0]),
    "booleans beside a missing one, named": ([True, None, False], ["true", "false"], [0, -1, 1]),
    "names": (["yes", "no", None], NO_YES, [1, 0, -1]),
    "names behind a space": ([" yes", "no ", "yes"], NO_YES, [1, 0, 1]),
    "words for nothing": (["yes", "NaN", "None", "null", "NA", "N/A", "-1"], NO_YES, [1, -1, -1, -1, -1, -1, -1]),
    "words for nothing that are classes": (["NA", "None", ""], ["None", "NA"], [1, 0, -1]),
    "zeros in front": (["01", "1", "01"], ["1", "01"], [1, 0, 1]),
}
NUMBERS: dict[str, tuple[list[Any], list[Any]]] = {
    "integers": ([1, -1, 3], [1.0, -1.0, 3.0]),
    "floats": ([1.5, -1.0, 0.0], [1.5, -1.0, 0.0]),
    "a missing one": ([1.5, None, 2.0], [1.5, None, 2.0]),
    "an integer beside a missing one": ([1, None, -1], [1.0, None, -1.0]),
    "booleans": ([True, False, True], [1.0, 0.0, 1.0]),
    "booleans beside a missing one": ([True, None, False], [1.0, None, 0.0]),
    "decimals": ([Decimal("1.50"), Decimal("-2.25"), None], [1.5, -2.25, None]),
    "dates": ([date(1970, 1, 2), date(1969, 12, 31), None], [86_400.0, -86_400.0, None]),
    "timestamps": ([datetime(1970, 1, 1, 1, 0, 0, 500_000), None, datetime(1970, 1, 1)], [3600.5, None, 0.0]),
    "timestamps of a zone": (
        [datetime(1970, 1, 1, 1, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC)],
        [3600.0, 86_400.0],
    ),
}
DOES_NOT_APPLY = {
    ("booleans beside a missing one, named", "npz"): "numpy has no missing boolean: it would be a number",
    ("timestamps of a zone", "npz"): "numpy has no time zones",
}


def cells(cases: dict[str, Any]) -> list[tuple[str, str]]:
    return [(case, kind) for case in cases for kind in FORMATS if (case, kind) not in DOES_NOT_APPLY]


def column(folder: Path, kind: str, values: list[Any], target: dict[str, Any] | None = None) -> Any:
    path = written(folder, kind, {"a": values if target is None else list(range(len(values))), "y": values})
    inputs = {"a": {"kind": "array", **({"missing": "zero"} if target is None else {})}}
    return read(path, format=kind, inputs=inputs, targets={"y": target} if target else {})


@pytest.mark.parametrize(("case", "kind"), cells(LABELS))
def test_a_label_is_the_same_class_in_every_format(case: str, kind: str, tmp_path: Path) -> None:
    values, classes, expected = LABELS[case]
    found = column(tmp_path, kind, values, {"kind": "class", "classes": classes}).targets["y"]
    assert found.values.tolist() == expected
    assert found.labelled.tolist() == [label != -1 for label in expected]


@pytest.mark.parametrize(("case", "kind"), cells(NUMBERS))
def test_a_number_is_the_same_value_and_input_in_every_format(case: str, kind: str, tmp_path: Path) -> None:
    values, expected = NUMBERS[case]
    found = column(tmp_path, kind, values, {"kind": "value"}).targets["y"].values.tolist()
    assert [None if value != value else value for value in found] == expected
    rows = column(tmp_path, kind, values).inputs["a"]
    assert rows.flatten().tolist() == [0.0 if value is None else value for value in expected]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("values", [[True, False, None], [1, 0, None], [1.0, 0.0, None]], ids=str)
def test_yes_and_no_are_the_same_labels_in_every_format(values: list[Any], kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, kind, {"a": [1, 2, 3], "p": values, "q": [0, 1, 1]})
    target = {"kind": "multilabel", "columns": ["p", "q"]}
    found = read(path, format=kind, inputs={"a": {"kind": "array"}}, targets={"y": target}).targets["y"].values
    assert found[:2].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert found[2].isnan().tolist() == [True, False]


@pytest.mark.parametrize("kind", FORMATS)
def test_columns_are_known_in_their_order_in_every_format(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, kind, {"b": [1, 2, 3], "a": [4, 5, 6], "d": [7, 8, 9], "c": ["u", "v", "u"]})
    inputs = {
        "n": {"kind": "array", "columns": ["a", "b"], "missing": "indicator"},
        "c": {"kind": "category", "columns": ["d", "c"]},
    }
    found = read(path, format=kind, inputs=inputs, targets={})
    assert found.inputs["n"][0].tolist() == [4.0, 1.0, 0.0, 0.0]
    assert [found.transforms[name].columns for name in ("n", "c")] == [("a", "b"), ("d", "c")]


REFUSED: dict[str, tuple[list[Any], dict[str, Any], str, str]] = {
    "a name among numbers": ([0, 1, 2], {"kind": "class", "classes": NO_YES}, "label_out_of_range", "`2` at row 2"),
    "places where one is a name": (
        [0, 1, 0],
        {"kind": "class", "classes": ["0", "180"]},
        "label_out_of_range",
        "Labels are read as names, since `0` is one: write the name of each class, or say the number of classes where "
        'labels are places from 0 (`"classes": 2`)',
    ),
    "a fraction": ([0.0, 1.5, 1.0], {"kind": "class", "classes": NO_YES}, "label_out_of_range", "`1.5` at row 1"),
    "-1 as yes or no": ([1, -1, 0], {"kind": "multilabel"}, "label_out_of_range", "row 1 is not"),
    "words as numbers": (
        ["low", "high", "low"],
        {"kind": "value"},
        "wrong_type",
        'the column `y` is `low` at row 0. If it holds names, read it by `"kind": "class"`',
    ),
    "names without a list": (
        ["a", "b", "a"],
        {"kind": "class", "classes": 2},
        "label_out_of_range",
        "such as `a`, `b`",
    ),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("case", REFUSED)
def test_what_means_nothing_is_refused_in_every_format(case: str, kind: str, tmp_path: Path) -> None:
    values, target, code, fragment = REFUSED[case]
    assert fragment in refused(code, lambda: column(tmp_path, kind, values, target), more=3 << 30)
