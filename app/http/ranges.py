"""Range and conditional requests on a file whose strong ETag is its digest (RFC 9110, sections 13 and 14)."""

import base64
import re
from dataclasses import dataclass

from app.http.errors import RangeRefused

_ONE_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.IGNORECASE | re.ASCII)
_TAGS = re.compile(r'(?:W/)?"([^"]*)"')


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end`, `end` not included."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.end - self.start


def etag_of(sha256: str) -> str:
    """The strong entity tag of a file."""
    return f'"{sha256}"'


def repr_digest(sha256: str) -> str:
    """`Repr-Digest` (RFC 9530): the SHA-256 as a structured byte sequence."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def not_modified(if_none_match: str | None, sha256: str) -> bool:
    """True if the client has these bytes already: weak comparison, a list, or `*`."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or sha256 in _TAGS.findall(if_none_match)


def requested_span(range_header: str | None, if_range: str | None, sha256: str, size: int) -> Span | None:
    """The single requested range, or None for the whole file.

    A server may ignore Range. This one does for other units, invalid syntax, several ranges, and an If-Range with
    another tag or a date (only the strong tag guarantees the same bytes). Raises RangeRefused if the range is outside
    the file.
    """
    if range_header is None or (if_range is not None and if_range.strip() != etag_of(sha256)):
        return None
    match = _ONE_RANGE.fullmatch(range_header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return _suffix(int(last), size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise _refused(size)
    return Span(start, min(int(last) + 1, size) if last else size)


def _suffix(length: int, size: int) -> Span:
    if length == 0 or size == 0:
        raise _refused(size)
    return Span(max(0, size - length), size)


def _refused(size: int) -> RangeRefused:
    return RangeRefused(
        "range_not_satisfiable",
        f"the file has {size} bytes: request a range inside it",
        headers={"Content-Range": f"bytes */{size}"},
    )
