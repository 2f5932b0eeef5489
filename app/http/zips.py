"""A zip's central directory, read in bounded memory and without unpacking anything. Pure, but for `members`."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from app.errors import Invalid

MOST_DIRECTORY_BYTES: Final = 32 << 20
TAIL_BYTES: Final = 65_557 + 20 + 56
"""So much of a zip's end holds the place of its directory, whatever comment follows it."""

_END, _END64, _LOCATOR, _ENTRY = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
_ENTRY_BYTES = 46
_NOT_HERE = 0xFFFFFFFF
_ZIP64 = 1


@dataclass(frozen=True)
class Entry:
    """One member. `offset` is that of its local header, `header` its directory entry as it stands."""

    name: str
    offset: int
    size: int
    stored_size: int
    header: bytes


def members(file: BinaryIO) -> Iterator[str]:
    """The member names of a zip file; raises Invalid where its directory is broken or beyond bounds."""
    length = file.seek(0, 2)
    file.seek(max(0, length - TAIL_BYTES))
    start, end = directory_place(file.read(TAIL_BYTES), length)
    file.seek(start)
    yield from (entry.name for entry in entries(file.read(end - start)))


def directory_place(tail: bytes, length: int) -> tuple[int, int]:
    """Where the directory of a zip of that length begins and ends, from its last `TAIL_BYTES`. Raises Invalid."""
    found = tail.rfind(_END)
    if found < 0 or len(tail) < found + 22:
        raise _broken("it has no directory at its end: it is cut off, or no zip")
    size, start = struct.unpack_from("<II", tail, found + 12)
    if _NOT_HERE in (size, start) and found >= 20 and tail[found - 20 : found - 16] == _LOCATOR:
        size, start = _place64(tail, length, struct.unpack_from("<Q", tail, found - 12)[0])
    if start + size > length:
        raise _broken("its directory points past its end")
    if size > MOST_DIRECTORY_BYTES:
        raise _broken(f"its directory is larger than {MOST_DIRECTORY_BYTES >> 20} MiB")
    return start, start + size


def _place64(tail: bytes, length: int, record: int) -> tuple[int, int]:
    at = record - (length - len(tail))
    if at < 0 or at + 56 > len(tail) or tail[at : at + 4] != _END64:
        raise _broken("its 64-bit directory is not where it should be")
    size, start = struct.unpack_from("<QQ", tail, at + 40)
    return size, start


def entries(directory: bytes) -> Iterator[Entry]:
    """The members in a directory. Raises Invalid."""
    place = 0
    while place + _ENTRY_BYTES <= len(directory):
        if directory[place : place + 4] != _ENTRY:
            raise _broken("an entry of its directory is no entry")
        name, extra, comment = struct.unpack_from("<HHH", directory, place + 28)
        end = place + _ENTRY_BYTES + name + extra + comment
        yield _entry(directory[place:end], name, extra)
        place = end


def _entry(header: bytes, name: int, extra: int) -> Entry:
    stored, whole = struct.unpack_from("<II", header, 20)
    (offset,) = struct.unpack_from("<I", header, 42)
    fields = header[_ENTRY_BYTES + name : _ENTRY_BYTES + name + extra]
    whole, stored, offset = _filled((whole, stored, offset), _zip64(fields))
    text = header[_ENTRY_BYTES : _ENTRY_BYTES + name].decode("utf-8", "replace")
    return Entry(text, offset, whole, stored, header[: _ENTRY_BYTES + name])


def _zip64(fields: bytes) -> list[int]:
    place = 0
    while place + 4 <= len(fields):
        kind, size = struct.unpack_from("<HH", fields, place)
        if kind == _ZIP64:
            body = fields[place + 4 : place + 4 + size]
            return [number for (number,) in struct.iter_unpack("<Q", body[: len(body) // 8 * 8])]
        place += 4 + size
    return []


def _filled(values: tuple[int, int, int], wide: list[int]) -> tuple[int, int, int]:
    """Numbers that do not fit into 32 bits stand in the zip64 field, in this order."""
    left = iter(wide)
    whole, stored, offset = (next(left, value) if value == _NOT_HERE else value for value in values)
    return whole, stored, offset


def directory_of(chosen: list[tuple[Entry, int]], start: int) -> bytes:
    """A directory, with its end, for members that now lie at other offsets; it begins at `start`. All numbers are
    64 bits wide, which every reader of large zips knows.
    """
    parts = []
    for entry, offset in chosen:
        fixed = bytearray(entry.header)
        struct.pack_into("<H", fixed, 6, 45)
        struct.pack_into("<II", fixed, 20, _NOT_HERE, _NOT_HERE)
        extra = struct.pack("<HHQQQ", _ZIP64, 24, entry.size, entry.stored_size, offset)
        struct.pack_into("<HH", fixed, 30, len(extra), 0)
        struct.pack_into("<I", fixed, 42, _NOT_HERE)
        parts.append(bytes(fixed) + extra)
    directory, count = b"".join(parts), len(parts)
    end64 = struct.pack("<4sQHHIIQQQQ", _END64, 44, 45, 45, 0, 0, count, count, len(directory), start)
    locator = struct.pack("<4sIQI", _LOCATOR, 0, start + len(directory), 1)
    end = struct.pack("<4sHHHHIIH", _END, 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), _NOT_HERE, _NOT_HERE, 0)
    return directory + end64 + locator + end


def _broken(why: str) -> Invalid:
    return Invalid.at("", "broken_archive", f"the file begins like a zip archive, but {why}")
