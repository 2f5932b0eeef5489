"""Rows that cannot be right: a stable code, and the place."""

import gzip
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contracts.resources.manifests import VectorOutput
from app.contracts.resources.tables import CsvOptions
from app.contracts.wire.predictions import MOST_ROWS
from tests.engine.serving.serving import npz
from workers.engine.serving.answers import prediction
from workers.engine.serving.rows.documents import read_json, read_jsonl
from workers.engine.serving.rows.errors import RowErrors
from workers.engine.serving.rows.files import MOST_DECODED_BYTES, read_arrays_of_npz, read_csv
from workers.engine.serving.rows.forms import InputForm

X = InputForm("x", "float32", (3,), ("a", "b", "c"))
FILLED = InputForm("x", "float64", (2,), ("a", "b"), fills=True)
BYTES = InputForm("x", "uint8", (2, 2), ("x",))
WORDS = InputForm("w", "string", (2,), ("a/b", "c"), categories=True)
PLANS = InputForm("p", "int64", (1,), ("p",), categories=True)
ROW = [1.0, 2.0, 3.0]

CASES: list[tuple[InputForm, Any, str, str]] = [
    (X, {"inputs": {"x": [ROW, [1.0, 2.0, "3"]]}}, "/inputs/x/1/2", "wrong_type"),
    (X, {"inputs": {"x": [ROW, [1.0, True, 3.0]]}}, "/inputs/x/1/1", "wrong_type"),
    (X, {"inputs": {"x": [ROW, [1.0, None, 3.0]]}}, "/inputs/x/1/1", "wrong_type"),
    (X, {"inputs": {"x": [ROW, [1.0, {}, 3.0]]}}, "/inputs/x/1/1", "wrong_type"),
    (X, {"inputs": {"x": [ROW, [1.0, 2.0]]}}, "/inputs/x/1", "ragged"),
    (X, {"inputs": {"x": [ROW, [1.0, 2.0, [3.0]]]}}, "/inputs/x/1/2", "ragged"),
    (X, {"inputs": {"x": [ROW, 3.0]}}, "/inputs/x/1", "ragged"),
    (X, {"inputs": {"x": ROW}}, "/inputs/x", "shape_mismatch"),
    (X, {"inputs": {"x": [[ROW]]}}, "/inputs/x", "shape_mismatch"),
    (X, {"inputs": {"x": [[]]}}, "/inputs/x", "shape_mismatch"),
    (X, {"inputs": {"x": [[1.0, 2.0, 1e39]]}}, "/inputs/x/0/2", "not_finite"),
    (X, {"inputs": {"x": [[1.0, 2.0, 10**400]]}}, "/inputs/x", "not_finite"),
    (X, {"inputs": {"x": []}}, "/inputs/x", "no_rows"),
    (X, {"inputs": {"x": [ROW] * (MOST_ROWS + 1)}}, "/inputs/x", "too_many_rows"),
    (X, {"inputs": {"x": 5}}, "/inputs/x", "wrong_type"),
    (X, {"inputs": [ROW]}, "/inputs", "wrong_type"),
    (X, {"inputs": {"x": [ROW], "y": [ROW]}}, "/inputs/y", "unknown_input"),
    (X, {"inputs": {}}, "/inputs", "missing_input"),
    (X, {"rows": []}, "/rows", "no_rows"),
    (X, {"rows": [{"a": 1, "b": 2, "c": 3}] * (MOST_ROWS + 1)}, "/rows", "too_many_rows"),
    (X, {"rows": {"a": 1}}, "/rows", "wrong_type"),
    (X, {"rows": [{"a": 1, "b": 2, "c": 3}, 7]}, "/rows/1", "wrong_type"),
    (X, {"rows": [{"a": 1, "b": 2}]}, "/rows/0", "missing_column"),
    (X, {"rows": [{"a": 1, "b": 2, "c": 3, "d": 4}]}, "/rows/0/d", "unknown_column"),
    (X, {"rows": [{"a": 1, "b": 2, "c": None}]}, "/rows/0/c", "not_finite"),
    (X, {"rows": [{"a": 1, "b": 2, "c": "3"}]}, "/rows/0/c", "wrong_type"),
    (X, {"rows": [{"a": 1, "b": 2, "c": "2024-13-01"}]}, "/rows/0/c", "wrong_type"),
    (X, {"rows": [{"a": 1, "b": 2, "c": [3, 4]}]}, "/rows/0/c", "shape_mismatch"),
    (FILLED, {"inputs": {"x": [[None, 1e400]]}}, "", "invalid_json"),
    (FILLED, {"rows": [{"a": None, "b": 10**400}]}, "/rows/0/b", "not_finite"),
    (BYTES, {"inputs": {"x": [[[0, 255], [256, 0]]]}}, "/inputs/x/0/1/0", "not_whole_numbers"),
    (BYTES, {"inputs": {"x": [[[0, 255], [0.5, 0]]]}}, "/inputs/x/0/1/0", "not_whole_numbers"),
    (BYTES, {"inputs": {"x": [[0, 255, 0, 0]]}}, "/inputs/x", "shape_mismatch"),
    (WORDS, {"inputs": {"w": [["a", "b"], ["a", ["b"]]]}}, "/inputs/w/1/1", "ragged"),
    (WORDS, {"inputs": {"w": [["a", {}]]}}, "/inputs/w/0/1", "wrong_type"),
    (WORDS, {"inputs": {"w": ["a", "b"]}}, "/inputs/w", "shape_mismatch"),
    (WORDS, {"rows": [{"a/b": {}, "c": 1}]}, "/rows/0/a~1b", "wrong_type"),
    (PLANS, {"inputs": {"p": [[1], ["gold"]]}}, "/inputs/p/1/0", "wrong_type"),
    (PLANS, {"rows": [{"p": 1}, {"p": None}]}, "/rows/1/p", "wrong_type"),
    (X, {"x": [ROW]}, "", "invalid_value"),
    (X, {"inputs": {"x": [ROW]}, "rows": []}, "", "invalid_value"),
    (X, [ROW], "", "invalid_value"),
]


@pytest.mark.parametrize(("form", "body", "pointer", "code"), CASES, ids=lambda each: str(each)[:60])
def test_wrong_rows_are_refused_with_their_place(form: InputForm, body: Any, pointer: str, code: str) -> None:
    with pytest.raises(RowErrors) as caught:
        read_json(json.dumps(body).encode(), {form.name: form}, frozenset())
    first = caught.value.problems[0]
    assert (first.pointer, first.code) == (pointer, code)
    assert ":" in first.detail  # the way out


def test_inputs_of_different_numbers_of_rows_are_refused() -> None:
    """A graph may take one row for all."""
    with pytest.raises(RowErrors) as caught:
        read_json(b'{"inputs": {"x": [[1, 2, 3], [4, 5, 6]], "p": [[1]]}}', {"x": X, "p": PLANS}, frozenset())
    assert [(each.pointer, each.code) for each in caught.value.problems] == [("/inputs", "ragged")]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1, 2", '{"inputs": NaN}', '{"inputs": {}, "inputs": {}}', "[" * 5000, "9" * 5000, b"\xff\xfe{}"],
    ids=lambda text: str(text)[:20],
)
def test_what_is_no_strict_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(RowErrors) as caught:
        read_json(text.encode() if isinstance(text, str) else text, {"x": X}, frozenset())
    assert [each.code for each in caught.value.problems] == ["invalid_json"]


def test_several_wrong_numbers_are_told_together_up_to_a_bound() -> None:
    with pytest.raises(RowErrors) as caught:
        read_json(json.dumps({"rows": [{"a": None, "b": 2, "c": None}] * 40}).encode(), {"x": X}, frozenset())
    places = [each.pointer for each in caught.value.problems]
    assert (places[:3], len(places)) == (["/rows/0/a", "/rows/0/c", "/rows/1/a"], 50)


def places_of(body: Any, *forms: InputForm) -> list[str]:
    with pytest.raises(RowErrors) as caught:
        read_json(json.dumps(body).encode(), {form.name: form for form in forms}, frozenset())
    return [each.pointer for each in caught.value.problems]


def test_wrong_values_of_all_columns_and_inputs_are_told_together() -> None:
    rows = [{"a": "x", "b": 2, "c": 3, "p": "gold"}, {"a": 1, "b": 2, "c": "y", "p": 1}]
    assert places_of({"rows": rows}, X, PLANS) == ["/rows/0/a", "/rows/1/c", "/rows/0/p"]
    inputs = {"x": [[1.0, "2", True], [1.0, None, 3.0]], "w": [["a", {}], [{}, "b"]]}
    expected = ["/inputs/x/0/1", "/inputs/x/0/2", "/inputs/x/1/1", "/inputs/w/0/1", "/inputs/w/1/0"]
    assert places_of({"inputs": inputs}, X, WORDS) == expected


def test_categories_are_spelled_as_the_reader_of_the_dataset_spells_them() -> None:
    """Without the spaces around them; a text whose meaning the file alone tells stays as the file has it."""
    known = replace(WORDS, spellings=({}, {" 1.00 ": "one"}))
    body = {"inputs": {"w": [["\t blue  ", " 1.00 "], ["1.000", "TRUE "], [" x y ", None]]}}
    found = read_json(json.dumps(body).encode(), {"w": known}, frozenset())["w"]
    assert found.tolist() == [["blue", " 1.00 "], ["1", "true"], ["x y", ""]]


def test_only_the_wrong_numbers_of_a_csv_with_decimal_commas_are_named(tmp_path: Path) -> None:
    options = CsvOptions(delimiter=";", decimal=",", null_values=("?",))
    (tmp_path / "rows").write_text("a;b\n1,5;2\n?;1,25\ndear;2,5\n1.234,5;3\n")
    with pytest.raises(RowErrors) as caught:
        read_csv(tmp_path / "rows", {"x": FILLED}, options)
    assert [each.pointer for each in caught.value.problems] == ["/2/a", "/3/a"]


def test_a_csv_with_another_delimiter_is_told_what_was_found_and_expected(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a,b\n1,2\n")
    with pytest.raises(RowErrors, match=r'expected `a`, `b` separated by ";", .*, found `a,b`: ') as caught:
        read_csv(tmp_path / "rows", {"x": FILLED}, CsvOptions(delimiter=";"))
    assert caught.value.problems[0].code == "missing_column"


def refused_file(folder: Path, content: bytes, form: InputForm, reader: Any) -> tuple[str, str, str]:
    """(pointer, code, detail) of the first error."""
    (folder / "rows").write_bytes(content)
    with pytest.raises(RowErrors) as caught:
        reader(folder / "rows", {form.name: form})
    first = caught.value.problems[0]
    return first.pointer, first.code, first.detail


def read_plain_csv(path: Path, forms: dict[str, InputForm]) -> object:
    return read_csv(path, forms, None)


def test_text_among_many_numbers_is_refused_before_an_array_is_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An array of text has the longest for each element: a body of 16 MiB would need terabytes."""
    made: list[str] = []
    array = np.array

    def noted(values: Any, *given: Any, **named: Any) -> Any:
        found = array(values, *given, **named)
        made.append(found.dtype.kind)
        return found

    monkeypatch.setattr(np, "array", noted)
    wide = replace(X, shape=(None,))
    for row in ([1.0] * 1000 + ["x" * 1000], [True, 1.0], [None, 1.0]):
        assert places_of({"inputs": {"x": [row]}}, wide) == [f"/inputs/x/0/{0 if len(row) == 2 else 1000}"]
    assert made == []


def test_a_compressed_csv_is_refused_by_name(tmp_path: Path) -> None:
    """16 MiB of it may be 16 GiB of text."""
    for head, kind in ((gzip.compress(b"a,b\n1,2\n"), "gzip"), (b"\x28\xb5\x2f\xfd", "zstd")):
        pointer, code, detail = refused_file(tmp_path, head, FILLED, read_plain_csv)
        assert (pointer, code) == ("", "unreadable")
        assert f"compressed by {kind}: send it uncompressed" in detail


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_compressed_json_is_refused_by_name(kind: str) -> None:
    body = gzip.compress(b'{"a/b": 1.0}')
    with pytest.raises(RowErrors) as caught:
        read_json(body, {"x": FILLED}, ()) if kind == "json" else read_jsonl(body, {"x": FILLED})
    assert caught.value.problems[0].code == "unreadable"
    assert "compressed by gzip: send it uncompressed" in caught.value.problems[0].detail


def test_too_many_rows_of_a_csv_are_refused_before_arrow_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of text takes as much memory as the longest: 8 million short ones beside a long one are 8 GiB. A line end
    within quotes ends no row.
    """
    quoted = b'a/b,c\n"x\n\ny",1\n' + b"\n\r\n" + b'z,"2"\r\n' * (MOST_ROWS - 1)
    (tmp_path / "rows").write_bytes(quoted)
    assert len(read_csv(tmp_path / "rows", {"w": WORDS}, None)["w"]) == MOST_ROWS
    monkeypatch.setattr("workers.engine.serving.rows.files.read_columns", None)
    found = refused_file(tmp_path, quoted + b"x,3\n", WORDS, read_plain_csv)
    assert found[:2] == ("", "too_many_rows")


def test_arrays_of_too_many_rows_or_bytes_are_refused_by_their_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A MiB of an archive may be a GiB of zeros."""
    monkeypatch.setattr("workers.engine.serving.rows.files.read_npz", None)
    form = replace(X, columns=("x",))
    rows = np.zeros((MOST_ROWS + 1, 3), np.float32)
    assert refused_file(tmp_path, npz({"x": rows}), form, read_arrays_of_npz)[:2] == ("/x", "too_many_rows")
    wide = replace(form, shape=(None,))
    side = MOST_DECODED_BYTES // MOST_ROWS // 4 + 1
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (MOST_ROWS, side)})
    found = refused_file(tmp_path, zipped(header.getvalue()), wide, read_arrays_of_npz)
    assert found[:2] == ("", "too_many_rows")
    assert "send fewer rows" in found[2]
    endless = b"\x93NUMPY\x02\x00" + (1 << 30).to_bytes(4, "little") + b" " * (1 << 22)
    assert refused_file(tmp_path, zipped(endless), form, read_arrays_of_npz)[:2] == ("", "unreadable")


def zipped(member: bytes) -> bytes:
    """An archive of one array `x`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", member)
    return file.getvalue()


def test_gaps_dates_and_whole_numbers_are_read_as_a_file_has_them() -> None:
    rows = [{"a": None, "b": "1970-01-02"}, {"a": True, "b": "1970-01-01T00:00:01+00:00"}]
    found = read_json(json.dumps({"rows": rows}).encode(), {"x": FILLED}, frozenset())["x"].tolist()
    assert str(found) == "[[nan, 86400.0], [1.0, 1.0]]"
    found = read_json(b'{"inputs": {"x": [[[0, 255], [1, 2.0]]]}}', {"x": BYTES}, frozenset())["x"]
    assert (found.dtype.name, found.tolist()) == ("uint8", [[[0, 255], [1, 2]]])
    found = read_json(b'{"rows": [{"a/b": 1.0, "c": true, "y": 3}]}', {"w": WORDS}, {"y"})["w"]
    assert found.tolist() == [["1", "true"]]
    found = read_json(b'{"inputs": {"w": [["red\\u0000x", "\\ud800"]]}}', {"w": WORDS}, frozenset())["w"]
    assert found.tolist() == [["red\\x00x", "\\ud800"]]


def test_text_is_a_number_where_the_readers_of_datasets_take_it_for_one() -> None:
    lines = ["12:30", "23:59:59.5"], ["true", "FALSE"], ["-3e2", " .5"], ["2024-02-29T12:00", "1970-01-02"]
    seconds = [45000.0, 86399.5], [1.0, 0.0], [-300.0, 0.5], [1709208000.0, 86400.0]
    for texts, numbers in zip(lines, seconds, strict=True):
        body = json.dumps({"a": texts[0], "b": texts[1]}).encode()
        assert read_jsonl(body, {"x": FILLED})["x"].tolist() == [numbers]
    rows = {"rows": [{"a": "12:30", "b": "1970-01-02"}]}
    assert read_json(json.dumps(rows).encode(), {"x": FILLED}, frozenset())["x"].tolist() == [[45000.0, 86400.0]]


@pytest.mark.parametrize("text", ["1_0", "infinity", "inf", "0x10", "20240229T12", "2024-W09-4", "24:00:00:00"])
def test_text_that_the_readers_of_datasets_do_not_take_for_a_number_is_refused(text: str) -> None:
    with pytest.raises(RowErrors) as caught:
        read_jsonl(json.dumps({"a": 1, "b": text}).encode(), {"x": FILLED})
    assert [(each.pointer, each.code) for each in caught.value.problems] == [("/0/b", "wrong_type")]


def test_arrays_of_text_are_numbers_where_all_of_it_is(tmp_path: Path) -> None:
    form = replace(FILLED, columns=("x",))
    (tmp_path / "rows").write_bytes(npz({"x": np.array([["1", " 2.5"], ["true", ""]])}))
    assert str(read_arrays_of_npz(tmp_path / "rows", {"x": form})["x"].tolist()) == "[[1.0, 2.5], [1.0, nan]]"
    found = refused_file(tmp_path, npz({"x": np.array([["1", "2"], ["3", "1_0"]])}), form, read_arrays_of_npz)
    assert found[:2] == ("/x/1/1", "wrong_type")


@pytest.mark.parametrize("text", ["1_0", "+5", "05", "\u0661", "1\u0660", "10" * 10])
def test_a_category_is_a_whole_number_as_the_file_writes_it_alone(text: str) -> None:
    assert places_of({"rows": [{"p": 10}, {"p": text}]}, PLANS) == ["/rows/1/p"]
    assert places_of({"inputs": {"p": [[10], [text]]}}, PLANS) == ["/inputs/p/1/0"]


def test_each_category_of_a_column_of_several_has_its_own_place() -> None:
    form = InputForm("p", "int64", (3,), ("two", "one"), categories=True)
    rows = [{"two": [1, 2], "one": 3}, {"two": [1, "x"], "one": "y"}]
    assert places_of({"rows": rows}, form) == ["/rows/1/two/1", "/rows/1/one"]
    assert places_of({"rows": [{"two": [1, {}], "one": 3}]}, form) == ["/rows/0/two/1"]
    assert places_of({"rows": [{"two": [], "one": 3}]}, form) == ["/rows/0/two"]


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int8", "bool"])
def test_the_first_float_above_an_integer_type_is_refused(dtype: Any) -> None:
    high = 1 if dtype == "bool" else int(np.iinfo(dtype).max)
    form = InputForm("x", dtype, (1,), ("x",))
    assert places_of({"inputs": {"x": [[1.0], [float(high + 1)]]}}, form) == ["/inputs/x/1/0"]
    last = float(high) if high < 2**53 else float(np.nextafter(float(high), 0.0))
    found = read_json(json.dumps({"inputs": {"x": [[0.0], [last]]}}).encode(), {"x": form}, frozenset())["x"]
    assert found.astype(np.float64).tolist() == [[0.0], [last]]


def test_an_answer_of_too_many_numbers_says_how_many_rows_may_be_sent() -> None:
    wide = np.zeros((MOST_ROWS, 1 << 15), np.float32)
    with pytest.raises(RowErrors) as caught:
        prediction("mdl_1", {"y": VectorOutput(kind="vector")}, {"y.vector": wide})
    assert (caught.value.problems[0].code, "at most 128 rows" in str(caught.value)) == ("too_many_rows", True)


def test_a_long_field_of_a_csv_is_read_and_cut_as_in_a_dataset(tmp_path: Path) -> None:
    """Python's csv module takes 131,072 characters of a field where nothing else is said."""
    (tmp_path / "rows").write_text(f"a/b,c\n{'x' * 200_000},1\n")
    assert read_csv(tmp_path / "rows", {"w": WORDS}, None)["w"].tolist() == [["x" * 200, "1"]]
