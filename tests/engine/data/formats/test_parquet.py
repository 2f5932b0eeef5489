"""Parquet: types, nulls, lists; claims beyond the bound; damage."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from app.contracts.problems import UserError
from tests.engine.jobs.inspection.uploads import MEBIBYTE, bounded_memory, mutations, refused
from workers.engine.data.formats.read import read_columns

Array = NDArray[Any]
ROOM = 3 << 30
"""Address space that Arrow reserves when it reads its first file."""


def arrays(folder: Path, table: Any, *wanted: str, **writing: Any) -> dict[str, Array]:
    path = folder / "data.parquet"
    if isinstance(table, bytes):
        path.write_bytes(table)
    else:
        made = table if isinstance(table, pa.Table) else pa.table(table)
        pa.parquet.write_table(made, path, **writing)
    return read_columns(path, "parquet", set(wanted or ("x",))).arrays


COLUMNS: dict[str, tuple[Any, list[Any], str]] = {
    "integers": (pa.array([1, 2]), [1, 2], "<i8"),
    "bytes": (pa.array([1, 255], pa.uint8()), [1, 255], "|u1"),
    "half precision": (pa.array(np.array([1.5, 2.0], np.float16)), [1.5, 2.0], "<f2"),
    "truths": (pa.array([True, False]), [1, 0], "|i1"),
    "dictionary of integers": (pa.array([7, 5]).dictionary_encode(), [7, 5], "<i8"),
    "dictionary of text": (pa.array(["b", None, "a"]).dictionary_encode(), ["b", "", "a"], "<U1"),
    "text": (pa.array(["b", None, "a"]), ["b", "", "a"], "<U1"),
    "large text": (pa.array(["b", "a"], pa.large_string()), ["b", "a"], "<U1"),
    "lists": (pa.array([[1.0, 2.0], [3.0, 4.0]]), [[1.0, 2.0], [3.0, 4.0]], "<f8"),
    "lists of bytes": (pa.array([[1, 255], [3, 4]], pa.list_(pa.uint8())), [[1, 255], [3, 4]], "|u1"),
    "lists of fixed size": (pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2)), [[1, 2], [3, 4]], "<f4"),
    "large lists": (pa.array([[1], [3]], pa.large_list(pa.int16())), [[1], [3]], "<i2"),
    "lists of lists": (pa.array([[[1, 2]], [[3, 4]]]), [[[1, 2]], [[3, 4]]], "<i8"),
    "lists of truths": (pa.array([[True], [False]]), [[1], [0]], "<f8"),
}


@pytest.mark.parametrize("what", COLUMNS)
def test_a_column_comes_out_as_it_was_written(what: str, tmp_path: Path) -> None:
    column, expected, dtype = COLUMNS[what]
    found = arrays(tmp_path, {"x": column})["x"]
    assert found.tolist() == expected
    assert found.dtype.str == dtype


MISSING: dict[str, tuple[Any, list[Any]]] = {
    "an integer": (pa.array([1, None, 3]), [1.0, np.nan, 3.0]),
    "a number": (pa.array([None, 2.5]), [np.nan, 2.5]),
    "a truth": (pa.array([True, None]), [1.0, np.nan]),
    "everything": (pa.array([None, None]), [np.nan, np.nan]),
    "a number of a list": (pa.array([[1, None], [3, 4]]), [[1.0, np.nan], [3.0, 4.0]]),
    "a list": (pa.array([[1, 2], None]), [[1.0, 2.0], [np.nan, np.nan]]),
    "every list": (pa.array([None, None], pa.list_(pa.int64())), [np.nan, np.nan]),
    "the first list": (pa.array([None, [1, 2]]), [[np.nan, np.nan], [1.0, 2.0]]),
    "a list of fixed size": (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), [[1.0, 2.0], [np.nan, np.nan]]),
    "a list of lists": (pa.array([[[1, 2]], None]), [[[1.0, 2.0]], [[np.nan, np.nan]]]),
}


@pytest.mark.parametrize("what", MISSING)
def test_what_is_missing_is_nan(what: str, tmp_path: Path) -> None:
    column, expected = MISSING[what]
    np.testing.assert_array_equal(arrays(tmp_path, {"x": column})["x"], expected)


def test_row_groups_and_pages_make_no_difference(tmp_path: Path) -> None:
    table = {"x": [[i, i + 1] for i in range(1000)], "y": list(range(1000))}
    found = arrays(tmp_path, table, "x", "y", row_group_size=7, data_page_size=64)
    assert found["x"].tolist() == table["x"]
    assert found["y"].tolist() == table["y"]


def test_a_name_with_a_dot_is_a_column_and_not_a_path(tmp_path: Path) -> None:
    found = arrays(tmp_path, {"a.b": [1], "a": [2], "c": [{"d": 3}]}, "a.b", "a")
    assert {name: column.tolist() for name, column in found.items()} == {"a.b": [1], "a": [2]}
    refused("missing_column", lambda: arrays(tmp_path, {"c": [{"d": 3}]}, "c.d"), ROOM)


TYPES: dict[str, Any] = {
    "binary": pa.array([b"1"]),
    "struct": pa.array([{"a": 1}]),
    "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
    "string_view": pa.array(["a"]).cast(pa.string_view()),
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_type_that_is_not_read_is_named_with_those_that_are(kind: str, tmp_path: Path) -> None:
    message = refused("unreadable", lambda: arrays(tmp_path, {"x": TYPES[kind]}), ROOM)
    assert f"`x` is of type {kind}" in message
    assert "numbers, strings and lists of numbers are read" in message


LISTS: dict[str, tuple[Any, str, str]] = {
    "other lengths": (pa.array([[1, 2], [3]]), "ragged", "rows of 1, 2"),
    "text": (pa.array([["1"], ["2"]]), "wrong_type", "`x` holds text"),
    "structs": (pa.array([[{"a": 1}]]), "ragged", "`x` needs numbers"),
    "nothing": (pa.array([[], []], pa.list_(pa.float32())), "empty_dataset", "the rows of `x` are empty"),
}


@pytest.mark.parametrize("what", LISTS)
def test_lists_that_are_no_rows_of_numbers_are_refused(what: str, tmp_path: Path) -> None:
    column, code, fragment = LISTS[what]
    assert fragment in refused(code, lambda: arrays(tmp_path, {"x": column}), ROOM)


def test_a_column_named_twice_is_refused_where_it_is_wanted(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1])] * 3, names=["x", "z", "z"])
    assert arrays(tmp_path, table)["x"].tolist() == [1]
    assert "`z` more than once" in refused("unreadable", lambda: arrays(tmp_path, table, "z"), ROOM)


def test_no_row_and_no_such_column_are_reported(tmp_path: Path) -> None:
    assert "no row" in refused("empty_dataset", lambda: arrays(tmp_path, {"x": pa.array([], pa.int64())}), ROOM)
    message = refused("missing_column", lambda: arrays(tmp_path, {"a": [1], "b": [2]}), ROOM)
    assert "the file has `a`, `b`, but no `x`" in message


def test_a_footer_that_claims_2_to_the_34_rows_is_refused_by_its_claim(tmp_path: Path) -> None:
    table = pa.table({"x": pa.array(np.zeros(2000, np.int64))})
    pa.parquet.write_table(table, tmp_path / "zeros.parquet", row_group_size=1999)
    content = (tmp_path / "zeros.parquet").read_bytes()
    honest, claim = b"\xa0\x1f", b"\x80" * 5 + b"\x01"  # 2000 and 2^34 as Thrift spells them
    assert content.count(honest) == 1
    footer = struct.unpack("<I", content[-8:-4])[0] + len(claim) - len(honest)
    lie = content.replace(honest, claim)[:-8] + struct.pack("<I", footer) + b"PAR1"
    assert f"{2**34} rows: too large" in refused("unreadable", lambda: arrays(tmp_path, lie), ROOM)


def test_rows_that_the_memory_cannot_hold_are_no_damage_of_the_file(tmp_path: Path) -> None:
    """An inspection then says `too_large`. Here a file of 140 kB asks for 256 MiB."""
    many = pa.DictionaryArray.from_arrays(np.zeros(32 * MEBIBYTE, np.int8), pa.array([1.5]))
    pa.parquet.write_table(pa.table({"x": many}), tmp_path / "many.parquet")
    content = (tmp_path / "many.parquet").read_bytes()
    assert len(content) < MEBIBYTE
    pool = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())  # the default one still has what was freed before
    try:
        arrays(tmp_path, {"x": pa.array([1])})
        with bounded_memory(128 * MEBIBYTE), pytest.raises(MemoryError):
            arrays(tmp_path, content)
    finally:
        pa.set_memory_pool(pool)


BROKEN = {
    "a footer of zeros": b"PAR1" + bytes(20) + b"PAR1",
    "four bytes": b"PAR1",
    "a footer past the file": b"PAR1" + bytes(20) + b"\xff\xff\xff\x7fPAR1",
    "csv": b"x,y\n1,2\n",
    "nothing": b"",
}


@pytest.mark.parametrize("trap", BROKEN)
def test_what_is_no_parquet_is_refused(trap: str, tmp_path: Path) -> None:
    assert "parquet file cannot be read" in refused("unreadable", lambda: arrays(tmp_path, BROKEN[trap]), ROOM)


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    buffers = [None, pa.py_buffer(struct.pack("<2i", 0, 1)), pa.py_buffer(b"\xff")]
    table = {"x": pa.Array.from_buffers(pa.string(), 1, buffers)}
    assert "not UTF-8" in refused("unreadable", lambda: arrays(tmp_path, table), ROOM)


def test_a_damaged_parquet_is_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    """Trap: most damage is an OSError of Arrow's, and no ArrowException."""
    table = pa.table({"x": [1, 2] * 20, "y": ["cat", "dog"] * 20})
    pa.parquet.write_table(table, tmp_path / "sound.parquet")
    codes = set()
    for content in mutations((tmp_path / "sound.parquet").read_bytes(), 800):
        try:
            arrays(tmp_path, content, "x", "y")
        except UserError as error:
            codes.add(error.code)
    assert {"unreadable"} <= codes <= {"unreadable", "missing_column", "empty_dataset", "ragged"}
