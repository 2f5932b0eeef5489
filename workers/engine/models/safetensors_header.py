"""The header of a safetensors file, read by our own parser before any library sees the file.

The library itself accepts duplicate keys, overflowing shapes, names that are paths and hundreds of thousands of
keys; here each of them is refused. Layout: 8 bytes little-endian header size, a JSON object, the data.
"""

import json
import re
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from app.contracts.problems import UserError

MOST_HEADER_BYTES = 16 << 20
MOST_TENSORS = 20_000
WAY_OUT = "write it again with `safetensors.torch.save_file`"
MOST_DIMENSIONS = 8
MOST_NUMBERS = 1 << 40
"""Most that a shape may multiply up to, a side of 0 counted as 1: the library multiplies in 64 bits."""
NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,255}\Z")
SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def _refuse(message: str) -> UserError:
    return UserError("unreadable", f"not a sound safetensors file: {message}; {WAY_OUT}")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise _refuse("the header names a key twice")
    return keys


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _header(path: Path) -> tuple[dict[str, Any], int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            raise _refuse(f"expected at least 8 bytes, found {len(head)}")
        (length,) = struct.unpack("<Q", head)
        if length > min(MOST_HEADER_BYTES, size - 8):
            raise _refuse(f"the header claims {length} bytes of a file of {size}, {MOST_HEADER_BYTES} at most")
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _refuse("the header is no JSON object") from None
    if not isinstance(header, dict):
        raise _refuse("the header is no JSON object")
    _check_notes(header.pop("__metadata__", {}))
    return header, size - 8 - length


def _check_notes(notes: Any) -> None:
    if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
        raise _refuse("its `__metadata__` must map names to text")


def _entry(name: str, fields: Any, data: int) -> TensorEntry:
    if not NAME.match(name):
        raise _refuse("a tensor's name must be letters, digits, `_`, `-` and dots, at most 256 of them")
    try:
        dtype, shape, (start, end) = fields["dtype"], fields["shape"], fields["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise _refuse(f"`{name}` needs dtype, shape and data_offsets") from None
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise _refuse(f"`{name}` has the dtype {str(dtype)[:20]!r}: {', '.join(SIZES)} can be read")
    sides: list[int] = shape if isinstance(shape, list) else [-1]
    if len(sides) > MOST_DIMENSIONS or not all(type(side) is int and 0 <= side < 2**31 for side in sides):
        raise _refuse(f"`{name}` has an impossible shape")
    if prod(max(side, 1) for side in sides) > MOST_NUMBERS:
        raise _refuse(f"`{name}` has a shape of more than {MOST_NUMBERS} numbers")
    if not all(type(offset) is int for offset in (start, end)) or not 0 <= start <= end <= data:
        raise _refuse(f"`{name}` lies outside the file")
    if prod(sides) * SIZES[dtype] != end - start:
        raise _refuse(f"`{name}` has {end - start} bytes of data for shape {sides} of {dtype}")
    return TensorEntry(name, dtype, tuple(sides), start, end)


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of a file, after every check. Raises UserError `unreadable` or `empty_model`."""
    header, data = _header(path)
    if len(header) > MOST_TENSORS:
        raise _refuse(f"{len(header)} tensors, {MOST_TENSORS} at most")
    if not header:
        raise UserError("empty_model", "the file holds no tensor at all: save the model's state_dict")
    entries = {name: _entry(name, fields, data) for name, fields in header.items()}
    reached = 0
    for entry in sorted(entries.values(), key=lambda e: (e.start, e.end)):
        if entry.start != reached:
            raise _refuse(f"the data of `{entry.name}` begin at {entry.start}, expected {reached}: overlap or hole")
        reached = entry.end
    if reached != data:
        raise _refuse(f"{data - reached} bytes after the last tensor")
    return entries
