"""Files of data as named arrays, bounded before anything is allocated. No pickles, no Arrow IPC."""

import io
import json
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
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


def refuse(message: str) -> UserError:
    """The error of a file that cannot be read."""
    return UserError("unreadable", message)


def read_arrays(path: Path, kind: DatasetFormat, wanted: set[str]) -> dict[str, Array]:
    """The arrays (npz keys or table columns) of these names that the file has, with as many rows each.

    Raises UserError: `unreadable`, `missing_column`, `ragged`, `empty_dataset`.
    """
    own = {"npz": _npz, "jsonl": _jsonl}
    arrays = own[kind](path, wanted) if kind in own else _arrow(path, kind, wanted)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise UserError("ragged", f"every column needs as many rows, found {lengths}")
    if not lengths or next(iter(lengths.values())) == 0:
        raise UserError("empty_dataset", "the file has no row")
    return arrays


def require(wanted: set[str], have: list[str]) -> list[str]:
    """The wanted names, sorted. Raises UserError `missing_column` unless the file has all of them."""
    missing = sorted(wanted - set(have))
    if missing:
        shown = ", ".join(f"`{name}`" for name in sorted(have)[:20])
        raise UserError("missing_column", f"the file has no {', '.join(f'`{n}`' for n in missing)}: it has {shown}")
    return sorted(wanted)


def _npz(path: Path, wanted: set[str]) -> dict[str, Array]:
    if not zipfile.is_zipfile(path):
        raise refuse("not an npz archive (a zip of npy arrays)")
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if len(members) != len(archive.namelist()):
                raise refuse("the archive names an array twice")
            return {name: _npy(archive, members[name], size) for name in require(wanted, list(members))}
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError):
        raise refuse("the npz archive is damaged") from None


def _npy(archive: zipfile.ZipFile, member: str, size: int) -> Array:
    told = archive.getinfo(member).file_size
    if told > min(MOST_BYTES, size * INFLATION):
        raise refuse(f"`{member}` claims {told} bytes in an archive of {size}")
    with archive.open(member) as file:
        try:
            version = npy.read_magic(file)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
            shape, fortran, dtype = read(file)
        except (ValueError, KeyError, SyntaxError):
            raise refuse(f"`{member}` is no npy array of version 1 or 2") from None
        if dtype.hasobject:
            raise UserError("code_carrying_format", f"`{member}` holds pickled objects: save numbers or strings")
        if dtype.kind not in "biufU" or len(shape) < 1:
            raise refuse(f"`{member}` has dtype {dtype} and shape {shape}: rows of numbers or strings are read")
        if prod(shape) * dtype.itemsize > told:
            raise refuse(f"`{member}` claims shape {shape} of {dtype} in {told} bytes")
        data = file.read(prod(shape) * dtype.itemsize)
    if len(data) != prod(shape) * dtype.itemsize:
        raise refuse(f"`{member}` ends too early")
    flat = np.frombuffer(bytearray(data), dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _arrow(path: Path, kind: DatasetFormat, wanted: set[str]) -> dict[str, Array]:
    """Arrow starts a thread when it is imported, so only who reads such a file does: the fork server must not."""
    from workers.engine.data import arrow

    return arrow.read_parquet(path, wanted) if kind == "parquet" else arrow.read_csv(path, wanted)


def stacked(name: str, rows: list[Any]) -> Array:
    """Rows of numbers, None for NaN, as one array. Raises UserError `ragged`."""
    try:
        return np.array([np.nan if row is None else row for row in rows], dtype=np.float64)
    except (ValueError, TypeError):
        raise UserError("ragged", f"`{name}` needs as many numbers in every row") from None


def check_lines(path: Path) -> None:
    """No line beyond the bound, no NUL: before a parser allocates for it."""
    longest = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            if b"\0" in piece:
                raise refuse("the file has NUL bytes: it is no text")
            *lines, rest = piece.split(b"\n")
            longest = longest + len(piece) if not lines else len(rest)
            if longest > MOST_LINE_BYTES:
                raise refuse(f"a line is longer than {MOST_LINE_BYTES} bytes")


def _number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _jsonl(path: Path, wanted: set[str]) -> dict[str, Array]:
    check_lines(path)
    rows: list[dict[str, Any]] = []
    with path.open("rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    rows.append(_json_row(line, number))
        except UnicodeDecodeError:
            raise refuse(f"line {len(rows) + 1} or later is not UTF-8") from None
    columns = require(wanted, sorted({key for row in rows for key in row}))
    return {name: _json_column(name, [row.get(name) for row in rows]) for name in columns}


def _json_row(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_constant=_number)
    except (ValueError, RecursionError):
        raise refuse(f"line {number} is no strict JSON") from None
    if not isinstance(row, dict):
        raise refuse(f"line {number} is no JSON object")
    return row


def _json_column(name: str, values: list[Any]) -> Array:
    if all(isinstance(value, str) or value is None for value in values) and any(values):
        return np.array([value or "" for value in values], dtype=np.str_)
    if any(isinstance(value, dict | str) for value in values):
        raise refuse(f"`{name}` mixes numbers with text or objects")
    return stacked(name, values)
