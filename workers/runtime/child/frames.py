"""Frames over a socket between supervisor and session: a head in JSON and bytes, each with its length before it."""

import os
import struct

_LENGTHS = struct.Struct("!II")
LENGTHS_BYTES = _LENGTHS.size


def packed(head: bytes, body: bytes) -> bytes:
    """A frame."""
    return _LENGTHS.pack(len(head), len(body)) + head + body


def lengths(start: bytes) -> tuple[int, int]:
    """(bytes of the head, bytes of the body), from the first LENGTHS_BYTES of a frame."""
    head, body = _LENGTHS.unpack(start)
    return head, body


class Frames:
    """The child's end, which blocks. A child has one thread that talks."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> tuple[bytes, bytes] | None:
        """(head, body) of the next frame; None once the other end is closed."""
        start = self._exactly(LENGTHS_BYTES)
        if start is None:
            return None
        sizes = lengths(start)
        parts = [self._exactly(size) for size in sizes]
        return None if parts[0] is None or parts[1] is None else (parts[0], parts[1])

    def write(self, head: bytes, body: bytes = b"") -> None:
        """Write one frame whole."""
        rest = memoryview(packed(head, body))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _exactly(self, size: int) -> bytes | None:
        found = bytearray()
        while len(found) < size:
            piece = os.read(self._descriptor, min(size - len(found), 1 << 20))
            if not piece:
                return None
            found += piece
        return bytes(found)
