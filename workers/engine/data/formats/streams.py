"""Text files as streams of UTF-8: decompressed (gzip, zstd) and recoded in bounded memory.

A stream is bounded by the size of its file and by MAX_BYTES, so that a small file cannot become a huge one.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from app.contracts.problems import UserError
from workers.engine.common.progress import moved
from workers.engine.data.formats.common import MAX_BYTES, MAX_LINE_BYTES, unreadable

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
MAX_RATIO = 1100
"""Largest ratio of a file's size to its compressed size; deflate reaches 1030."""
_ALWAYS = 64 << 20
"""Decompressed bytes that are allowed at any ratio: zstd writes a repetitive table smaller than deflate could."""
CHUNK = 1 << 20
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def compression_of(path: Path) -> Literal["gzip", "zstd"] | None:
    """How a file is compressed, by its first bytes."""
    with path.open("rb") as file:
        return compression_of_bytes(file.read(4))


def compression_of_bytes(content: bytes) -> Literal["gzip", "zstd"] | None:
    """How something is compressed that begins so."""
    return "gzip" if content.startswith(GZIP) else "zstd" if content.startswith(ZSTD) else None


def chunks(path: Path, encoding: str = "utf-8") -> Iterator[bytes]:
    """The text of a file as UTF-8 in pieces of about 1 MiB. UTF-8 itself is passed on as it is.

    Raises UserError `unreadable`: a damaged or too large file, text that is not in the encoding.
    """
    if encoding == "utf-8":
        yield from _decompressed(path)
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in _decompressed(path):
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError:
        raise unreadable(f"the file has text that is not {encoding}: change `csv.encoding`, or save UTF-8") from None


def _decompressed(path: Path) -> Iterator[bytes]:
    kind = compression_of(path)
    most = MAX_BYTES if kind is None else min(MAX_BYTES, max(_ALWAYS, path.stat().st_size * MAX_RATIO))
    length = 0
    with _damage(kind), _opened(path, kind) as file:
        while chunk := file.read(CHUNK):
            moved()
            length += len(chunk)
            if length > most:
                raise unreadable(f"the file decompresses to more than {most} bytes: send it uncompressed")
            yield bytes(chunk)


@contextmanager
def _damage(kind: str | None) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, OSError) as error:
        if kind is None or getattr(error, "errno", None) is not None:
            raise
        raise unreadable(f"the {kind} file is damaged or cut short: compress it and send it again") from None


class _Bytes(Protocol):
    def read(self, size: int, /) -> bytes: ...


@contextmanager
def _opened(path: Path, kind: Literal["gzip", "zstd"] | None) -> Iterator[_Bytes]:
    if kind == "zstd":
        import pyarrow as pa  # Arrow starts a thread at import, which the fork server must not have

        with pa.input_stream(str(path), compression="zstd") as stream:
            yield stream
        return
    if kind == "gzip":
        with gzip.open(path, "rb") as unpacked:
            yield unpacked
        return
    with path.open("rb") as file:
        yield file


class ChunkReader(io.RawIOBase):
    """An iterator of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's buffer is wider
        """Fill the buffer from the next piece; 0 at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def check_lines(path: Path, encoding: str = "utf-8") -> None:
    """Refuse NUL bytes and too long lines before a parser allocates for them. Raises UserError `unreadable`."""
    length = 0
    for i, chunk in enumerate(chunks(path, encoding)):
        if b"\0" in chunk:
            raise _has_nul(chunk if i == 0 else b"")
        *lines, rest = chunk.split(b"\n")
        length = length + len(chunk) if not lines else len(rest)
        if length > MAX_LINE_BYTES:
            raise unreadable(f"a line is longer than {MAX_LINE_BYTES} bytes: write one row a line")


def _has_nul(start: bytes) -> UserError:
    if start.startswith(_MARKS):
        way_out = 'save it as UTF-8, or add `"csv": {"encoding": "utf-16"}` to the manifest of a csv'
        return unreadable(f"the file has NUL bytes, as UTF-16 has: {way_out}")
    return unreadable("the file has NUL bytes: it is not text")
