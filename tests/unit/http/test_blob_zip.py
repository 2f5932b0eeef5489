"""Zips of blobs: what `zipfile` reads in them, and the same bytes every time."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from app.http.ranges import Span
from app.resources.blob_parts import BlobParts, BlobSpan
from app.resources.blob_zip import zip_of
from app.storage.local import LocalStore

Members = dict[str, bytes | BlobSpan]
LARGE = bytes(range(256)) * 12_289  # three chunks


async def stored(folder: Path, *contents: bytes) -> tuple[LocalStore, list[BlobSpan]]:
    store = LocalStore(folder / "blobs")
    spans = []
    for content in contents:
        digest = hashlib.sha256(content).hexdigest()
        (folder / "staged").write_bytes(content)
        await store.put(folder / "staged", digest)
        spans.append(BlobSpan(digest, Span(0, len(content))))
    return store, spans


async def read(parts: BlobParts, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in parts.read(start, parts.length if end is None else end)])


async def test_members_come_out_as_they_went_in_and_in_their_order(tmp_path: Path) -> None:
    store, (large, small) = await stored(tmp_path, LARGE, b"small")
    members: Members = {"b/large.bin": large, "a.txt": b"some text", "small.bin": small, "empty.txt": b""}
    made = await zip_of(store, members)
    content = await read(made)
    assert len(content) == made.length
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == list(members)
        assert archive.testzip() is None
        assert archive.read("b/large.bin") == LARGE
        assert archive.read("a.txt") == b"some text"
        assert archive.read("small.bin") == b"small"
        # No data descriptors: readers of streams need the sizes in front.
        assert not any(entry.flag_bits & 0x08 for entry in archive.infolist())


async def test_no_byte_of_a_blob_is_held(tmp_path: Path) -> None:
    store, (large,) = await stored(tmp_path, LARGE)
    made = await zip_of(store, {"large.bin": large, "a.txt": b"text"})
    assert large in made.parts
    assert sum(len(part) for part in made.parts if isinstance(part, bytes)) < 1000


async def test_equal_members_give_equal_bytes_and_any_range_is_read_alone(tmp_path: Path) -> None:
    store, (large,) = await stored(tmp_path, LARGE)
    members: Members = {"large.bin": large, "a.txt": b"text"}
    first, second = [await read(await zip_of(store, members)) for _ in range(2)]
    assert first == second
    made = await zip_of(store, members)
    for start, end in ((0, 10), (20, 1_500_000), (len(first) - 30, len(first)), (1_048_570, 1_048_590)):
        assert await read(made, start, end) == first[start:end]


async def test_files_beyond_the_limit_of_plain_zips_have_the_wide_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is 2 GiB; here a lower one stands in for it."""
    store, (large,) = await stored(tmp_path, LARGE)
    members: Members = {"large.bin": large, "a.txt": b"text"}
    plain = await zip_of(store, members)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1 << 20)
    wide = await zip_of(store, members)
    assert wide.length > plain.length
    with zipfile.ZipFile(io.BytesIO(await read(wide))) as archive:
        assert archive.read("large.bin") == LARGE
        assert archive.read("a.txt") == b"text"
