"""CSV as people have it: separators, decimal commas, encodings, no header, missing values, compression; and what a file
that does not fit its manifest seems to be.
"""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from app.contracts.resources.manifests import DatasetFormat
from app.contracts.resources.tables import CsvOptions
from tests.engine.jobs.inspection.uploads import MEBIBYTE, read, refused
from workers.engine.data.dataset import Dataset
from workers.engine.data.formats import streams
from workers.engine.data.formats.read import read_columns

ROWS = [(0.5, -1.25, 1), (2.0, 3.5, 0), (-0.125, 4.0, 1)]
PLAIN = "a,b,y\n" + "".join(f"{a},{b},{y}\n" for a, b, y in ROWS)
SEMICOLON = PLAIN.replace(",", ";")
COMMAS = SEMICOLON.replace(".", ",")
NO_HEADER = PLAIN.split("\n", 1)[1]
NUMBERED: dict[str, Any] = {
    "inputs": {"x": {"kind": "array", "columns": ["0", "1"]}},
    "targets": {"y": {"kind": "class", "column": "2", "classes": 2}},
}

WAYS: dict[str, tuple[str | bytes, dict[str, Any]]] = {
    "as it should be": (PLAIN, {}),
    "semicolons": (SEMICOLON, {"csv": {"delimiter": ";"}}),
    "semicolons and decimal commas": (COMMAS, {"csv": {"delimiter": ";", "decimal": ","}}),
    "tabs": (PLAIN.replace(",", "\t"), {"csv": {"delimiter": "\t"}}),
    "a space after the comma": (PLAIN.replace(",", ", "), {}),
    "no header": (NO_HEADER, {"csv": {"header": False}, **NUMBERED}),
    "no header, names in the manifest": (NO_HEADER, {"csv": {"header": False, "columns": ["a", "b", "y"]}}),
    "Latin-1": (
        PLAIN.replace("y\n", "y,süß\n", 1).replace("\n", ",ä\n").replace("süß,ä", "süß").encode("latin-1"),
        {"csv": {"encoding": "latin-1"}},
    ),
    "UTF-16": (PLAIN.encode("utf-16"), {"csv": {"encoding": "utf-16"}}),
    "gzip": (gzip.compress(PLAIN.encode()), {}),
    "gzip in two parts": (gzip.compress(PLAIN[:9].encode()) + gzip.compress(PLAIN[9:].encode()), {}),
    "zstd": (pa.Codec("zstd").compress(PLAIN.encode()).to_pybytes(), {}),
    "gzip of UTF-16": (gzip.compress(PLAIN.encode("utf-16")), {"csv": {"encoding": "utf-16"}}),
}


def table(folder: Path, content: str | bytes, **manifest: Any) -> Dataset:
    path = folder / "data.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path, **manifest)


@pytest.mark.parametrize("way", WAYS)
def test_one_table_is_one_dataset_however_it_is_written(way: str, tmp_path: Path) -> None:
    content, manifest = WAYS[way]
    found = table(tmp_path, content, **manifest)
    assert found.inputs["x"].tolist() == [[a, b] for a, b, _ in ROWS]
    assert found.targets["y"].values.tolist() == [y for _, _, y in ROWS]


LIKELY: dict[str, tuple[str, dict[str, Any], str]] = {
    "semicolons": (SEMICOLON, {}, 'separated by `;`, not by `,`: add "csv": {"delimiter": ";"}'),
    "semicolons and decimal commas": (COMMAS, {}, 'add "csv": {"delimiter": ";", "decimal": ","}'),
    "tabs": (PLAIN.replace(",", "\t"), {}, 'separated by a tab, not by `,`: add "csv": {"delimiter": "\\t"}'),
    "no header": (NO_HEADER, {}, 'without a header: its first row is numbers: add "csv": {"header": false}'),
    "no header and semicolons": (
        NO_HEADER.replace(",", ";"),
        {},
        'add "csv": {"delimiter": ";", "header": false} to the manifest, and call the columns `0`, `1`, `2`',
    ),
    "a header after all": (PLAIN, {"csv": {"header": False}}, 'one with a header: add "csv": {"header": true}'),
    "commas after all": (PLAIN, {"csv": {"delimiter": ";"}}, "separated by `,`, not by `;`"),
}


@pytest.mark.parametrize("what", LIKELY)
def test_a_file_that_is_written_otherwise_is_refused_with_what_it_seems_to_be(what: str, tmp_path: Path) -> None:
    content, manifest, fragment = LIKELY[what]
    assert fragment in refused("missing_column", lambda: table(tmp_path, content, **manifest))


def test_a_message_about_a_wide_file_says_what_it_has_first_and_is_never_cut(tmp_path: Path) -> None:
    pixels = {"x": {"kind": "array", "columns": [f"p{i}" for i in range(784)]}}
    rows = "\n".join(",".join(map(str, row)) for row in np.arange(7, 785 * 3 + 7).reshape(3, 785).tolist())
    headed = ",".join(f"pixel{i}" for i in range(784)) + ",label\n" + rows
    message = refused("missing_column", lambda: table(tmp_path, headed, inputs=pixels, targets={}))
    assert message.startswith("the file has 785 columns: `pixel0`, `pixel1`")
    assert "and 777 more, but lacks 784 that the manifest names: `p0`, `p1`" in message
    assert len(message) < 500
    message = refused("missing_column", lambda: table(tmp_path, rows, inputs=pixels, targets={}))
    assert 'its first row is numbers: add "csv": {"header": false}' in message
    assert len(message) < 700


TEXT: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "? for missing": (
        PLAIN.replace("2.0", "?"),
        {},
        "the column `a` is `?` at row 1",
        'If `?` means a missing value, add `"csv": {"null_values": ["?"]}`',
    ),
    "decimal commas": (COMMAS, {"csv": {"delimiter": ";"}}, "`a` is `0,5` at row 0", '`"csv": {"decimal": ","}`'),
    "names": (
        PLAIN.replace("0.5", "red").replace("2.0", "blue").replace("-0.125", "red"),
        {},
        "`a` is `red` at row 0",
        '"kind": "category"',
    ),
}


@pytest.mark.parametrize("what", TEXT)
def test_text_among_numbers_is_refused_with_column_row_and_way_out(what: str, tmp_path: Path) -> None:
    content, manifest, place, way_out = TEXT[what]
    message = refused("wrong_type", lambda: table(tmp_path, content, **manifest), more=3 << 30)
    assert place in message
    assert way_out in message


@pytest.mark.parametrize("space", ["", " "])
def test_other_words_for_missing_are_missing_in_inputs_and_labels(space: str, tmp_path: Path) -> None:
    content = f"a,b,y\n1,{space}?,yes\n?,{space}2,{space}?\n3,{space}4,no\n".replace("no", f"{space}no")
    inputs = {"x": {"kind": "array", "columns": ["a", "b"], "missing": "zero"}}
    targets = {"y": {"kind": "class", "classes": ["no", "yes"]}}
    found = table(tmp_path, content, csv={"null_values": ["?"]}, inputs=inputs, targets=targets)
    assert found.inputs["x"].tolist() == [[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]]
    assert found.targets["y"].values.tolist() == [1, -1, 0]


def test_a_name_in_spaces_is_the_name_and_stays_where_the_manifest_has_the_spaces(tmp_path: Path) -> None:
    """Trap: a manifest of an older version may name ` b`, and ` a` may stand beside `a`."""
    spaced = {"x": {"kind": "array", "columns": ["a", " b"]}}
    assert table(tmp_path, "a, b, y\n1, 2, 0\n", inputs=spaced).inputs["x"].tolist() == [[1.0, 2.0]]
    assert table(tmp_path, 'a,  "b" , y\n1, 2, 0\n').inputs["x"].tolist() == [[1.0, 2.0]]
    assert table(tmp_path, "a, a,b,y\n1,5,2,0\n").inputs["x"].tolist() == [[1.0, 2.0]]
    targets = {"y": {"kind": "class", "classes": ["u v", "w"]}}
    found = table(tmp_path, 'a, b, y\n1, 2, "u v"\n1, 2, "w"\n', targets=targets)
    assert found.targets["y"].values.tolist() == [0, 1]


def test_a_line_end_in_a_quoted_name_hides_no_column(tmp_path: Path) -> None:
    """Trap: the first line is then not the whole header."""
    assert table(tmp_path, '"long\nname",a,b,y\n9,1,2,0\n').inputs["x"].tolist() == [[1.0, 2.0]]
    assert table(tmp_path, f"{'n' * 200_000},a,b,y\n9,1,2,0\n").inputs["x"].tolist() == [[1.0, 2.0]]
    many = "".join(f"{'n' * 120_000}{i}," for i in range(10))
    found = table(tmp_path, f"{many}a,b,y\n" + "1," * 10 + "1,2,0\n")
    assert found.inputs["x"].tolist() == [[1.0, 2.0]]


def test_unquoted_decimal_commas_are_refused_with_the_way_out(tmp_path: Path) -> None:
    message = refused("unreadable", lambda: table(tmp_path, "a,b,y\n0,5,1,5,1\n"), more=3 << 30)
    assert "Quote fields that hold the delimiter or a decimal comma" in message


def test_booleans_behind_a_space_are_booleans(tmp_path: Path) -> None:
    assert table(tmp_path, "a, b, y\n1, True, 0\n2, false, 1\n").inputs["x"].tolist() == [[1.0, 1.0], [2.0, 0.0]]


def test_a_class_of_a_whole_number_is_read_with_a_decimal_comma(tmp_path: Path) -> None:
    targets = {"y": {"kind": "class", "classes": ["1", "0"]}}
    content = COMMAS.replace(";1\n", ";1,0\n").replace(";0\n", ";0,0\n")
    found = table(tmp_path, content, csv={"delimiter": ";", "decimal": ","}, targets=targets)
    assert found.targets["y"].values.tolist() == [0, 1, 0]


def test_text_in_another_encoding_is_refused_with_its_name(tmp_path: Path) -> None:
    content = "a,b,y\n1,2,süß\n3,4,sauer\n".encode("latin-1")
    targets = {"y": {"kind": "class", "classes": ["süß", "sauer"]}}
    message = refused("unreadable", lambda: table(tmp_path, content, targets=targets), more=3 << 30)
    assert '"csv": {"encoding": "windows-1252"}' in message
    found = table(tmp_path, content, csv={"encoding": "windows-1252"}, targets=targets)
    assert found.targets["y"].values.tolist() == [0, 1]
    message = refused("unreadable", lambda: table(tmp_path, b"a,b,y\n\x81,1,2\n", csv={"encoding": "cp1252"}))
    assert "not cp1252" in message


def test_utf_16_is_recognised_and_named(tmp_path: Path) -> None:
    message = refused("unreadable", lambda: table(tmp_path, PLAIN.encode("utf-16")))
    assert '"csv": {"encoding": "utf-16"}' in message


def test_names_for_another_number_of_columns_are_refused(tmp_path: Path) -> None:
    csv = {"header": False, "columns": ["a", "b"]}
    message = refused("missing_column", lambda: table(tmp_path, NO_HEADER, csv=csv))
    assert "`a`, `b`, but no `y`" in message
    csv = {"header": False, "columns": ["a", "b", "y", "z"]}
    assert "has 3 columns, `csv.columns` names 4" in refused("unreadable", lambda: table(tmp_path, NO_HEADER, csv=csv))


JSON_LINES = b'{"x": 1, "y": 2}\n{"x": 3, "y": 4}\n'


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_table_is_read_and_a_damaged_one_refused(
    compression: str, kind: DatasetFormat, tmp_path: Path
) -> None:
    content = b"x,y\n1,2\n3,4\n" if kind == "csv" else JSON_LINES
    packed = gzip.compress(content) if compression == "gzip" else pa.Codec("zstd").compress(content).to_pybytes()
    (tmp_path / "d").write_bytes(packed)
    found = read_columns(tmp_path / "d", kind, {"x", "y"}).arrays
    assert {name: column.tolist() for name, column in found.items()} == {"x": [1, 3], "y": [2, 4]}
    (tmp_path / "d").write_bytes(packed[:-6])
    message = refused("unreadable", lambda: read_columns(tmp_path / "d", kind, {"x", "y"}), more=3 << 30)
    assert f"the {compression} file is damaged" in message


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_small_file_that_decompresses_to_a_huge_one_is_refused_before_it_is_read(
    compression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bomb: a few kilobytes that would fill the memory."""
    monkeypatch.setattr(streams, "_ALWAYS", MEBIBYTE)
    monkeypatch.setattr(streams, "MAX_RATIO", 100)
    content = b"x,y\n" + b"1,2\n" * (4 * MEBIBYTE)
    packed = pa.Codec("zstd").compress(content).to_pybytes() if compression == "zstd" else gzip.compress(content)
    (tmp_path / "d").write_bytes(packed)
    assert len(content) > len(packed) * 100
    message = refused("unreadable", lambda: read_columns(tmp_path / "d", "csv", {"x"}), more=256 * MEBIBYTE)
    assert "decompresses to more than" in message


def test_a_table_larger_than_one_piece_is_read_whole(tmp_path: Path) -> None:
    rows = 200_000
    content = "x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(rows))
    (tmp_path / "d").write_bytes(gzip.compress(content.encode("utf-16"), 1))
    found = read_columns(tmp_path / "d", "csv", {"x"}, frozenset(), CsvOptions(encoding="utf-16")).arrays["x"]
    assert np.array_equal(found, np.arange(rows))
