"""Files of data as named arrays, bounded before anything is allocated. No pickles, no Arrow IPC."""

import io
import json
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Set
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.manifests import DatasetFormat

Array = NDArray[Any]
MOST_BYTES = 64 << 30
"""Most that a dataset may claim in memory; the sandbox bounds the rest."""
MOST_LINE_BYTES = 16 << 20
INFLATION = 1100
"""deflate cannot do better than about 1030 : 1: a larger claim is a lie."""
MOST_SIDE = 1 << 40
MOST_DIMENSIONS = 8
MOST_LETTERS = 256
"""Words are cut here, beyond any class name: numpy gives every row the room of the longest."""
NULL_WORDS = ("", "null", "NULL", "NaN", "nan", "NA")
"""What stands in a text file where there is nothing."""


def refuse(message: str) -> UserError:
    """The error of a file that cannot be read."""
    return UserError("unreadable", message)


def read_arrays(path: Path, kind: DatasetFormat, wanted: set[str], words: Set[str] = frozenset()) -> dict[str, Array]:
    """The arrays (npz keys or table columns) of these names that the file has, with as many rows each.

    `words` are those that hold words: a csv does not say so, and `true`, `01` or `NA` may be a word there. Raises
    UserError: `unreadable`, `code_carrying_format`, `missing_column`, `ragged`, `wrong_type`, `empty_dataset`.
    """
    own = {"npz": _npz, "jsonl": _jsonl}
    arrays = own[kind](path, wanted) if kind in own else _arrow(path, kind, wanted, words)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise UserError("ragged", f"every column needs as many rows, found {lengths}")
    if not lengths or next(iter(lengths.values())) == 0:
        raise _no_row()
    for name, array in arrays.items():
        if array.size == 0:
            raise UserError("empty_dataset", f"`{name}` has no number in its rows: its shape is {list(array.shape)}")
    return arrays


def _no_row() -> UserError:
    return UserError("empty_dataset", "the file has no row")


def require(wanted: set[str], have: list[str]) -> list[str]:
    """The wanted names, sorted. Raises UserError unless the file has each of them, and once."""
    missing = sorted(wanted - set(have))
    if missing:
        shown = ", ".join(f"`{name}`" for name in sorted(have)[:20])
        raise UserError("missing_column", f"the file has no {', '.join(f'`{n}`' for n in missing)}: it has {shown}")
    doubled = sorted(name for name, count in Counter(have).items() if count > 1 and name in wanted)
    if doubled:
        raise refuse(f"the file has {', '.join(f'`{name}`' for name in doubled)} more than once: which is meant?")
    return sorted(wanted)


def as_words(values: Iterable[str | None]) -> Array:
    """Text by row; "" where there is none."""
    return np.array([(value or "")[:MOST_LETTERS] for value in values], dtype=np.str_)


def _npz(path: Path, wanted: set[str]) -> dict[str, Array]:
    size = path.stat().st_size
    try:
        if not zipfile.is_zipfile(path):
            raise refuse("not an npz archive (a zip of npy arrays)")
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if len(members) != len(archive.namelist()):
                raise refuse("the archive names an array twice")
            return {name: _npy(archive, members[name], size) for name in require(wanted, list(members))}
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, NotImplementedError, ValueError):
        raise refuse("the npz archive is damaged") from None


def _npy(archive: zipfile.ZipFile, member: str, size: int) -> Array:
    entry = archive.getinfo(member)
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refuse(f"`{member}` is encrypted or compressed in another way than numpy.savez_compressed does")
    told = entry.file_size
    if told > min(MOST_BYTES, size * INFLATION):
        raise refuse(f"`{member}` claims {told} bytes in an archive of {size}")
    with archive.open(member) as file:
        shape, fortran, dtype = _npy_header(file, member)
        if 0 in shape:
            return np.empty((shape[0], 0) if shape[0] else 0, dtype)
        needed = prod(shape) * dtype.itemsize
        if needed > told:
            raise refuse(f"`{member}` claims shape {shape} of {dtype} in {told} bytes")
        data = file.read(needed)
    if len(data) != needed:
        raise refuse(f"`{member}` ends too early")
    flat = np.frombuffer(bytearray(data), dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _npy_header(file: IO[bytes], member: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except MemoryError:
        raise
    except Exception:  # numpy reads a header as Python does, and lets through whatever its tokenizer raises
        raise refuse(f"`{member}` is no npy array of version 1 or 2") from None
    if dtype.hasobject:
        raise UserError("code_carrying_format", f"`{member}` holds pickled objects: save numbers or strings")
    if dtype.kind not in "biufU" or dtype.itemsize == 0 or not 1 <= len(shape) <= MOST_DIMENSIONS:
        raise refuse(f"`{member}` has dtype {dtype} and shape {shape}: rows of numbers or strings are read")
    if not all(type(side) is int and 0 <= side < MOST_SIDE for side in shape):
        raise refuse(f"`{member}` has the impossible shape {shape}")
    return shape, fortran, dtype


def _arrow(path: Path, kind: DatasetFormat, wanted: set[str], words: Set[str]) -> dict[str, Array]:
    """Arrow starts a thread when it is imported, so only who reads such a file does: the fork server must not."""
    from workers.engine.data.formats import arrow

    return arrow.read_parquet(path, wanted) if kind == "parquet" else arrow.read_csv(path, wanted, words)


def stacked(name: str, rows: list[Any]) -> Array:
    """Rows of numbers as one array; None is NaN, a whole row of them where rows are lists.

    Raises UserError: `ragged`, `wrong_type`, `not_finite`.
    """
    try:
        shape = np.shape(next((row for row in rows if row is not None), np.nan))
        missing = np.full(shape, np.nan).tolist()
        found = np.array([missing if row is None else row for row in rows])
        if _holds_text(found):
            raise UserError("wrong_type", f"`{name}` holds text, expected numbers")
        return found.astype(np.float64)
    except OverflowError:
        raise UserError("not_finite", f"`{name}` holds a number that is too large for 64 bits") from None
    except (ValueError, TypeError):
        raise UserError("ragged", f"`{name}` needs numbers, as many in every row, found {_lengths(rows)}") from None


def _holds_text(found: Array) -> bool:
    return found.dtype.kind == "U" or (found.dtype.kind == "O" and any(isinstance(value, str) for value in found.flat))


def _lengths(rows: list[Any]) -> str:
    lengths = {len(row) if isinstance(row, list) else 1 for row in rows if row is not None}
    return f"rows of {', '.join(map(str, sorted(lengths)[:5]))}"


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


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


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
    if not rows:
        raise _no_row()
    columns = require(wanted, sorted({key for row in rows for key in row}))
    return {name: _json_column(name, [row.get(name) for row in rows]) for name in columns}


def _json_row(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_constant=_number, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError):
        raise refuse(f"line {number} is no strict JSON (no NaN, no key twice)") from None
    if not isinstance(row, dict):
        raise refuse(f"line {number} is no JSON object")
    return row


def _json_column(name: str, values: list[Any]) -> Array:
    if all(isinstance(value, str) or value is None for value in values) and any(values):
        return as_words(values)
    if any(isinstance(value, dict | str) for value in values):
        raise refuse(f"`{name}` mixes numbers with text or objects")
    return stacked(name, values)
