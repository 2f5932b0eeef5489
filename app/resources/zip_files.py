"""The names in a zip's central directory, read in bounded memory and without unpacking anything."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from app.http.errors import Invalid

MOST_DIRECTORY_BYTES: Final = 32 << 20
_TAIL_BYTES: Final = 65_557 + 20 + 56
"""Number of bytes at the end of a zip that contain the offset of its directory, with the longest comment."""

_END, _END64, _LOCATOR, _ENTRY = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
_ENTRY_BYTES = 46
_IN_ZIP64 = 0xFFFFFFFF


def members(file: BinaryIO) -> Iterator[str]:
    """The member names of a zip file; raises Invalid if its directory is broken or too large."""
    length = file.seek(0, 2)
    file.seek(max(0, length - _TAIL_BYTES))
    start, end = _directory_place(file.read(_TAIL_BYTES), length)
    file.seek(start)
    yield from _names(file.read(end - start))


def _directory_place(tail: bytes, length: int) -> tuple[int, int]:
    """Where the directory of a zip of that length begins and ends, from its last `_TAIL_BYTES`. Raises Invalid."""
    found = tail.rfind(_END)
    if found < 0 or len(tail) < found + 22:
        raise _broken("it has no directory at its end: it is truncated, or not a zip")
    behind = len(tail) - (found + 22 + int.from_bytes(tail[found + 20 : found + 22], "little"))
    if behind:
        raise _broken(f"{abs(behind)} bytes {'follow' if behind > 0 else 'are missing of'} its end")
    size, start = struct.unpack_from("<II", tail, found + 12)
    if _IN_ZIP64 in (size, start) and found >= 20 and tail[found - 20 : found - 16] == _LOCATOR:
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


def _names(directory: bytes) -> Iterator[str]:
    place = 0
    while place + _ENTRY_BYTES <= len(directory):
        if directory[place : place + 4] != _ENTRY:
            raise _broken("an entry of its directory is invalid")
        name, extra, comment = struct.unpack_from("<HHH", directory, place + 28)
        start = place + _ENTRY_BYTES
        yield directory[start : start + name].decode("utf-8", "replace")
        place = start + name + extra + comment


def _broken(why: str) -> Invalid:
    return Invalid.at("", "broken_archive", f"the file starts like a zip archive, but {why}: write it again")
