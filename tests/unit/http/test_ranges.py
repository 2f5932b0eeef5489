"""Ranges and conditional requests, as RFC 9110 and RFC 9530 say."""

import base64
import hashlib

import pytest

from app.http.errors import RangeRefused
from app.http.ranges import Span, etag_of, not_modified, repr_digest, requested_span

SHA = hashlib.sha256(b"weights").hexdigest()
SIZE = 1000


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=0-499", Span(0, 500)),
        ("bytes=500-", Span(500, 1000)),
        ("bytes=-1", Span(999, 1000)),
        ("bytes=-5000", Span(0, 1000)),
        ("bytes=990-99999999", Span(990, 1000)),
        ("BYTES=1-1", Span(1, 2)),
        (" bytes= 1-1 ", Span(1, 2)),
    ],
)
def test_one_range_is_served(header: str, span: Span) -> None:
    assert requested_span(header, None, SHA, SIZE) == span


@pytest.mark.parametrize(
    "header",
    [
        None,
        "bytes=-",
        "bytes=5-4",
        "bytes=a-b",
        "bytes=1-2,4-5",
        "bytes=" + ",".join(f"{i}-{i}" for i in range(5000)),
        "lines=1-2",
        "bytes=1-" + "9" * 400,
        "bytes=٣-٤",
        "garbage",
    ],
)
def test_what_is_no_single_range_is_ignored(header: str | None) -> None:
    assert requested_span(header, None, SHA, SIZE) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=1000-", SIZE), ("bytes=99999-", SIZE), ("bytes=-0", SIZE), ("bytes=0-", 0)]
)
def test_a_range_outside_the_file_is_refused_with_its_size(header: str, size: int) -> None:
    with pytest.raises(RangeRefused) as caught:
        requested_span(header, None, SHA, size)
    assert caught.value.headers["Content-Range"] == f"bytes */{size}"


def test_if_range_holds_for_the_same_bytes_only() -> None:
    assert requested_span("bytes=1-2", etag_of(SHA), SHA, SIZE) == Span(1, 3)
    assert requested_span("bytes=1-2", '"other"', SHA, SIZE) is None
    assert requested_span("bytes=1-2", f"W/{etag_of(SHA)}", SHA, SIZE) is None
    assert requested_span("bytes=1-2", "Wed, 21 Oct 2015 07:28:00 GMT", SHA, SIZE) is None


@pytest.mark.parametrize("header", ["*", etag_of(SHA), f"W/{etag_of(SHA)}", f'"a", {etag_of(SHA)}'])
def test_a_client_that_has_the_bytes_gets_not_modified(header: str) -> None:
    assert not_modified(header, SHA)


@pytest.mark.parametrize("header", [None, '"other"', "", SHA])
def test_a_client_that_has_not_is_served(header: str | None) -> None:
    assert not not_modified(header, SHA)


def test_repr_digest_is_a_structured_byte_sequence() -> None:
    found = repr_digest(SHA)
    assert found.startswith("sha-256=:")
    assert found.endswith(":")
    assert base64.b64decode(found[9:-1]) == hashlib.sha256(b"weights").digest()
