"""npz archives of numpy: no pickles, and every declared size is checked before anything is allocated."""

import io
import struct
import sys
import zipfile
from collections.abc import Set
from math import prod
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy

from app.contracts.problems import UserError
from workers.engine.data.formats.common import (
    MAX_BYTES,
    MAX_DEFLATE_RATIO,
    ZIP_DAMAGES,
    Array,
    no_lists,
    no_texts,
    require_columns,
    unreadable,
)
from workers.engine.data.formats.text_column import ListColumn, TextColumn
from workers.engine.data.formats.written import FileColumns, FileType, Written, written_array

MAX_SIDE = 1 << 40
MAX_DIMENSIONS = 8
MAX_RATIO: Final = 100
"""Largest ratio of arrays to their archive, above ALWAYS: deflate makes 3 MB of 3 GB of zeros, and data is not that."""
ALWAYS: Final = 256 << 20
"""Bytes of arrays that are read at any ratio, such as maps of mostly one class."""
_WAY_OUT = "write it again with numpy.savez"
MAPPED_BYTES: Final = 256 << 20
"""Arrays of 8 bits from this size on are mapped from the archive, where it has them as they are."""
_CHECKED_BYTES = 1 << 20
_HEADER_BYTES = 1 << 14
"""More than numpy takes for a header (10,000 bytes)."""
_LOCAL_HEADER: Final = struct.Struct("<4s22x2H")
"""In front of a file of a zip: signature, and at the end the lengths of its name and of further fields."""


def read_npz(
    path: Path,
    columns: set[str],
    categories: Set[str] = frozenset(),
    texts: Set[str] = frozenset(),
    lists: Set[str] = frozenset(),
) -> FileColumns:
    """The named arrays of an npz archive. Raises UserError as `read_columns` does."""
    size = path.stat().st_size
    try:
        if not zipfile.is_zipfile(path):
            raise unreadable(f"not an npz archive (a zip of npy arrays): {_WAY_OUT}")
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if len(members) != len(archive.namelist()):
                raise unreadable("the archive has two arrays of the same name: give each its own")
            names = require_columns(columns, list(members))
            _require_ratio(sum(archive.getinfo(members[name]).file_size for name in names), size)
            arrays = {name: _npy(archive, members[name], size) for name in names}
            written = {name: _written(arrays[name]) for name in names if name in categories}
    except ZIP_DAMAGES:
        raise unreadable(f"the npz archive is damaged: {_WAY_OUT}") from None
    found = {name: _texts(name, arrays.pop(name)) for name in names if name in texts}
    rows = {name: _lists(name, arrays.pop(name)) for name in names if name in lists}
    numbers = {name: _seconds(array) for name, array in arrays.items()}
    return FileColumns(numbers, written, texts=found, lists=rows, header=frozenset(members))


def _lists(name: str, rows: Array) -> ListColumn:
    if rows.dtype.kind not in "iufU" or rows.ndim != 2:
        raise no_lists(name, f"the type {rows.dtype} and {rows.ndim} dimensions")
    return ListColumn(len(rows), lambda each: rows[each.start : each.stop].tolist())


def _texts(name: str, rows: Array) -> TextColumn:
    if rows.dtype.kind != "U" or rows.ndim != 1:
        raise no_texts(name, f"the type {rows.dtype} and {rows.ndim} dimensions")
    return TextColumn(len(rows), lambda each: rows[each.start : each.stop].tolist())


_KINDS: dict[str, FileType] = {"b": "bool", "i": "number", "u": "number", "f": "number"}


def _written(rows: Array) -> Written:
    return written_array(rows, _KINDS.get(rows.dtype.kind, "text"))


def member_names(path: Path) -> frozenset[str]:
    """The names of the arrays of an npz archive. Raises UserError `unreadable`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except ZIP_DAMAGES:
        raise unreadable(f"not an npz archive (a zip of npy arrays): {_WAY_OUT}") from None


def array_headers(path: Path, columns: set[str]) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """(shape, type) of the named arrays, of which nothing but the headers is decompressed. Raises UserError as
    `read_npz` does.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            return {name: _header(archive, members[name]) for name in require_columns(columns, list(members))}
    except ZIP_DAMAGES:
        raise unreadable(f"the npz archive is damaged: {_WAY_OUT}") from None


def _header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.open(_entry(archive, member)) as file:
        shape, _, dtype = _npy_header(io.BytesIO(file.read(_HEADER_BYTES)), member)
    return shape, dtype


def _entry(archive: zipfile.ZipFile, member: str) -> zipfile.ZipInfo:
    entry = archive.getinfo(member)
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise unreadable(f"`{member}` is encrypted, or not compressed as numpy.savez_compressed does: {_WAY_OUT}")
    return entry


def _require_ratio(claimed: int, size: int) -> None:
    """Raises UserError `unreadable` where arrays of `claimed` bytes are too many for an archive of `size` bytes."""
    most = max(ALWAYS, size * MAX_RATIO)
    if claimed > most:
        raise unreadable(
            f"expected arrays of at most {most} bytes in an archive of {size}, found {claimed} claimed: save them "
            "uncompressed, by numpy.savez"
        )


def _npy(archive: zipfile.ZipFile, member: str, size: int) -> Array:
    entry = _entry(archive, member)
    declared = entry.file_size
    if declared > min(MAX_BYTES, size * MAX_DEFLATE_RATIO):
        raise unreadable(f"`{member}` claims {declared} bytes in an archive of {size}: {_WAY_OUT}")
    with archive.open(entry) as file:
        shape, fortran, dtype = _npy_header(file, member)
        needed = prod(shape) * dtype.itemsize
        if needed > declared:
            raise unreadable(f"`{member}` claims shape {shape} of {dtype} in {declared} bytes: {_WAY_OUT}")
        behind = declared - file.tell() - needed
        if behind > 0:
            raise unreadable(f"`{member}` has {behind} bytes behind its array, expected none: {_WAY_OUT}")
        if 0 in shape:
            return np.empty((shape[0], 0) if shape[0] else 0, dtype)
        is_plain = entry.compress_type == zipfile.ZIP_STORED and dtype == np.uint8 and not fortran
        if is_plain and behind == 0 and needed >= MAPPED_BYTES:
            return _mapped(archive, entry, file, shape)
        data = file.read(needed)
    if len(data) != needed:
        raise unreadable(f"`{member}` is truncated: {_WAY_OUT}")
    flat = np.frombuffer(bytearray(data), dtype=dtype)
    rows = flat.reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "S":
        return np.char.decode(rows, "utf-8")
    if dtype.kind == "U" and not _is_text(flat):
        raise unreadable(f"`{member}` has numbers that are no characters: {_WAY_OUT}")
    return rows


def _is_text(flat: Array) -> bool:
    """Whether the numbers of text [n] are those of characters, which numpy does not check."""
    return not bool((flat.view(np.dtype(np.uint32).newbyteorder(flat.dtype.byteorder)) > sys.maxunicode).any())


def _mapped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, file: IO[bytes], shape: tuple[int, ...]) -> Array:
    """An array of 8 bits that stands in the archive as it is, read-only. `file` is behind its header, and is read to
    the end, where module zipfile compares the checksum.
    """
    header = file.tell()
    while file.read(_CHECKED_BYTES):
        pass
    assert archive.filename is not None
    with Path(archive.filename).open("rb") as local:
        local.seek(entry.header_offset)
        *_, name, extra = _LOCAL_HEADER.unpack(local.read(_LOCAL_HEADER.size))
    offset = entry.header_offset + _LOCAL_HEADER.size + name + extra + header
    return np.memmap(archive.filename, dtype=np.uint8, mode="r", offset=offset, shape=shape)


_FINEST: Final = {"ps": 1e12, "fs": 1e15, "as": 1e18}
"""Units of a second that numpy has below nanoseconds, whose range is days at most."""


def _seconds(rows: Array) -> Array:
    """Timestamps as seconds since 1970-01-01 UTC, durations as seconds: float64, NaN where missing (NaT). Others as
    they are.
    """
    if rows.dtype.kind not in "mM":
        return rows
    unit, step = np.datetime_data(rows.dtype)
    if unit in _FINEST:
        return np.where(np.isnat(rows), np.nan, rows.astype(np.int64) * (step / _FINEST[unit]))
    microseconds = rows.astype(f"{rows.dtype.kind}8[us]")
    seconds = microseconds.astype(np.int64) / 1e6
    if unit == "ns":
        seconds += (rows - microseconds).astype("m8[ns]").astype(np.int64) / 1e9
    return np.where(np.isnat(rows), np.nan, seconds)


def _npy_header(file: IO[bytes], member: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except MemoryError:
        raise
    except Exception:  # numpy parses a header as Python source, and lets through whatever its tokenizer raises
        raise unreadable(f"`{member}` is not an npy array of version 1 or 2: {_WAY_OUT}") from None
    if dtype.hasobject:
        raise UserError("code_carrying_format", f"`{member}` holds pickled objects: save numbers or strings")
    if dtype.kind not in "biufUSmM" or dtype.itemsize == 0 or not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise unreadable(f"`{member}` has dtype {dtype} and shape {shape}: rows of numbers or strings are read")
    if not all(type(side) is int and 0 <= side < MAX_SIDE for side in shape):
        raise unreadable(f"`{member}` has the impossible shape {shape}: {_WAY_OUT}")
    return shape, fortran, dtype
