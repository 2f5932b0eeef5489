"""Files of data as named arrays, bounded before anything is allocated. No pickles, no Arrow IPC."""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.lib import format as npy
from numpy.typing import NDArray

from app.contracts.manifests import DatasetFormat
from app.contracts.problems import UserError

Array = NDArray[Any]
MOST_BYTES = 64 << 30
"""Most that a dataset may claim in memory; the sandbox bounds the rest."""
MOST_LINE_BYTES = 16 << 20
INFLATION = 1100
"""deflate cannot do better than about 1030 : 1: a larger claim is a lie."""


def _refuse(message: str) -> UserError:
    return UserError("unreadable", message)


def read_arrays(path: Path, kind: DatasetFormat, wanted: set[str]) -> dict[str, Array]:
    """The arrays (npz keys or table columns) of these names that the file has, with as many rows each.

    Raises UserError: `unreadable`, `missing_column`, `ragged`, `empty_dataset`.
    """
    arrays = {"npz": _npz, "parquet": _parquet, "csv": _csv, "jsonl": _jsonl}[kind](path, wanted)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise UserError("ragged", f"every column needs as many rows, found {lengths}")
    if not lengths or next(iter(lengths.values())) == 0:
        raise UserError("empty_dataset", "the file has no row")
    return arrays


def _require(wanted: set[str], have: list[str]) -> list[str]:
    missing = sorted(wanted - set(have))
    if missing:
        shown = ", ".join(f"`{name}`" for name in sorted(have)[:20])
        raise UserError("missing_column", f"the file has no {', '.join(f'`{n}`' for n in missing)}: it has {shown}")
    return sorted(wanted)


def _npz(path: Path, wanted: set[str]) -> dict[str, Array]:
    if not zipfile.is_zipfile(path):
        raise _refuse("not an npz archive (a zip of npy arrays)")
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if len(members) != len(archive.namelist()):
                raise _refuse("the archive names an array twice")
            return {name: _npy(archive, members[name], size) for name in _require(wanted, list(members))}
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError):
        raise _refuse("the npz archive is damaged") from None


def _npy(archive: zipfile.ZipFile, member: str, size: int) -> Array:
    told = archive.getinfo(member).file_size
    if told > min(MOST_BYTES, size * INFLATION):
        raise _refuse(f"`{member}` claims {told} bytes in an archive of {size}")
    with archive.open(member) as file:
        try:
            version = npy.read_magic(file)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
            shape, fortran, dtype = read(file)
        except (ValueError, KeyError, SyntaxError):
            raise _refuse(f"`{member}` is no npy array of version 1 or 2") from None
        if dtype.hasobject:
            raise UserError("code_carrying_format", f"`{member}` holds pickled objects: save numbers or strings")
        if dtype.kind not in "biufU" or len(shape) < 1:
            raise _refuse(f"`{member}` has dtype {dtype} and shape {shape}: rows of numbers or strings are read")
        if prod(shape) * dtype.itemsize > told:
            raise _refuse(f"`{member}` claims shape {shape} of {dtype} in {told} bytes")
        data = file.read(prod(shape) * dtype.itemsize)
    if len(data) != prod(shape) * dtype.itemsize:
        raise _refuse(f"`{member}` ends too early")
    flat = np.frombuffer(bytearray(data), dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


@contextmanager
def _arrow_errors(what: str) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise _refuse(f"the {what} file cannot be read: {str(error).splitlines()[0][:300]}") from None


def _parquet(path: Path, wanted: set[str]) -> dict[str, Array]:
    with _arrow_errors("parquet"):
        file = pa.parquet.ParquetFile(path)
        columns = _require(wanted, file.schema_arrow.names)
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        told = sum(group.total_byte_size for group in groups)
        if told > MOST_BYTES or file.metadata.num_rows * len(columns) * 8 > MOST_BYTES:
            raise _refuse(f"the file claims {told} bytes and {file.metadata.num_rows} rows: beyond the bound")
        return _columns(file.read(columns=columns), columns)


def _csv(path: Path, wanted: set[str]) -> dict[str, Array]:
    _check_lines(path)
    with _arrow_errors("csv"):
        table = pa.csv.read_csv(
            path,
            read_options=pa.csv.ReadOptions(block_size=MOST_LINE_BYTES),
            convert_options=pa.csv.ConvertOptions(
                null_values=["", "null", "NULL", "NaN", "nan", "NA"], strings_can_be_null=True
            ),
        )
        return _columns(table, _require(wanted, table.column_names))


def _columns(table: pa.Table, names: list[str]) -> dict[str, Array]:
    return {name: _column(name, table.column(name)) for name in names}


def _column(name: str, column: pa.ChunkedArray) -> Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_boolean(kind):
        column, kind = column.cast(pa.int8()), pa.int8()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        # A missing integer makes the column floating, with NaN for what is missing.
        return np.asarray(column.to_numpy())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array([value if value is not None else "" for value in column.to_pylist()], dtype=np.str_)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _stacked(name, column.to_pylist())
    raise _refuse(f"column `{name}` is of type {kind}: numbers, strings and lists of numbers are read")


def _stacked(name: str, rows: list[Any]) -> Array:
    try:
        stacked = np.array([np.nan if row is None else row for row in rows], dtype=np.float64)
    except (ValueError, TypeError):
        raise UserError("ragged", f"`{name}` needs as many numbers in every row") from None
    return stacked


def _check_lines(path: Path) -> None:
    """No line beyond the bound, no NUL: before a parser allocates for it."""
    longest = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            if b"\0" in piece:
                raise _refuse("the file has NUL bytes: it is no text")
            *lines, rest = piece.split(b"\n")
            longest = longest + len(piece) if not lines else len(rest)
            if longest > MOST_LINE_BYTES:
                raise _refuse(f"a line is longer than {MOST_LINE_BYTES} bytes")


def _number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _jsonl(path: Path, wanted: set[str]) -> dict[str, Array]:
    _check_lines(path)
    rows: list[dict[str, Any]] = []
    with path.open("rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    rows.append(_json_row(line, number))
        except UnicodeDecodeError:
            raise _refuse(f"line {len(rows) + 1} or later is not UTF-8") from None
    columns = _require(wanted, sorted({key for row in rows for key in row}))
    return {name: _json_column(name, [row.get(name) for row in rows]) for name in columns}


def _json_row(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_constant=_number)
    except (ValueError, RecursionError):
        raise _refuse(f"line {number} is no strict JSON") from None
    if not isinstance(row, dict):
        raise _refuse(f"line {number} is no JSON object")
    return row


def _json_column(name: str, values: list[Any]) -> Array:
    if all(isinstance(value, str) or value is None for value in values) and any(values):
        return np.array([value or "" for value in values], dtype=np.str_)
    if any(isinstance(value, dict | str) for value in values):
        raise _refuse(f"`{name}` mixes numbers with text or objects")
    return _stacked(name, values)
