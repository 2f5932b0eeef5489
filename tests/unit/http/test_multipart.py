"""The push parser: parts in any order, whatever the chunks, nothing of the files kept."""

import random
from collections.abc import Iterable

import pytest

from app.http.errors import ApiError, BadRequest, NotSupported, TooLarge
from app.http.multipart import UploadParser, boundary_of

BOUNDARY = "xYz123"
MANIFEST = b'{"name": "a"}'
FILE = bytes(range(256)) * 40 + b"\r\n--xYz12\r\n--\r\n"


def part(name: str, content: bytes, extra: str = "") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def fed(data: bytes, sizes: Iterable[int] = (10**9,)) -> tuple[UploadParser, bytes]:
    parser, files = all_fed(data, sizes, most_files=1)
    return parser, files.get(0, b"")


def all_fed(data: bytes, sizes: Iterable[int], most_files: int) -> tuple[UploadParser, dict[int, bytes]]:
    parser = UploadParser(BOUNDARY.encode(), most_files)
    files: dict[int, bytes] = {}
    rest = memoryview(data)
    sizes = iter(sizes)
    while rest:
        size = next(sizes, 10**9)
        parser.write(bytes(rest[:size]))
        rest = rest[size:]
        for number, piece in parser.taken():
            files[number] = files.get(number, b"") + piece
    parser.finish()
    return parser, files


WHOLE = {
    "manifest first": body(part("manifest", MANIFEST), part("file", FILE, '; filename="a.bin"')),
    "file first": body(part("file", FILE, '; filename="a.bin"'), part("manifest", MANIFEST)),
    "with epilogue": body(part("manifest", MANIFEST), part("file", FILE, '; filename="a.bin"')) + b"and more",
}


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE.keys())
def test_both_orders_give_the_same(data: bytes) -> None:
    parser, file = fed(data)
    assert parser.manifest == MANIFEST
    assert file == FILE
    assert parser.file_names == ["a.bin"]


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE.keys())
@pytest.mark.parametrize("seed", range(8))
def test_the_chunks_do_not_matter(data: bytes, seed: int) -> None:
    dice = random.Random(seed)
    assert fed(data, (dice.randint(1, 60) for _ in range(10**6)))[1] == FILE


def test_one_byte_at_a_time() -> None:
    assert fed(WHOLE["manifest first"], (1 for _ in range(10**6)))[1] == FILE


def test_the_manifest_is_there_before_the_file_ends() -> None:
    parser = UploadParser(BOUNDARY.encode())
    data = WHOLE["manifest first"]
    parser.write(data[: data.index(b"filename") + 5000])
    assert parser.manifest == MANIFEST
    assert sum(len(piece) for _, piece in parser.taken()) > 4000


@pytest.mark.parametrize("size", [1, 7, 10**9])
def test_several_files_are_told_apart_whatever_the_chunks(size: int) -> None:
    parts = (part("file", FILE, '; filename="b"'), part("manifest", MANIFEST), part("file", b"", '; filename="e"'))
    parser, files = all_fed(body(*parts, part("file", b"two", '; filename="a"')), (size for _ in range(10**6)), 3)
    assert (parser.manifest, parser.file_names) == (MANIFEST, ["b", "e", "a"])
    assert files == {0: FILE, 2: b"two"}


def test_more_files_than_allowed_are_refused_before_they_are_read() -> None:
    with pytest.raises(BadRequest) as caught:
        all_fed(body(*(part("file", b"x") for _ in range(4))), (10**9,), most_files=3)
    assert caught.value.code == "too_many_files"
    assert "at most 3" in caught.value.detail


@pytest.mark.parametrize("cut", range(5, len(WHOLE["manifest first"]) - 4, 517))
def test_a_body_that_ends_early_is_refused(cut: int) -> None:
    with pytest.raises(BadRequest) as caught:
        fed(WHOLE["manifest first"][:cut])
    assert caught.value.code == "truncated_body"


HOSTILE: dict[str, tuple[bytes, str]] = {
    "no file": (body(part("manifest", MANIFEST)), "missing_part"),
    "no manifest": (body(part("file", FILE)), "missing_part"),
    "two files": (body(part("manifest", MANIFEST), part("file", FILE), part("file", FILE)), "doubled_part"),
    "two manifests": (body(part("manifest", MANIFEST), part("manifest", MANIFEST)), "doubled_part"),
    "another part": (body(part("manifest", MANIFEST), part("notes", b"x")), "unexpected_part"),
    "ten thousand parts": (body(*(part(f"p{i}", b"") for i in range(10_000))), "unexpected_part"),
    "a part without a name": (f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}--".encode(), "unexpected_part"),
    "another boundary": (b"--other\r\n\r\nx\r\n--other--\r\n", "bad_multipart"),
    "64 kB of part header": (f"--{BOUNDARY}\r\nA: {'b' * 65536}\r\n\r\n".encode(), "bad_multipart"),
    "a thousand part headers": (f"--{BOUNDARY}\r\n{'A: b' * 1}\r\n".encode() + b"C: d\r\n" * 1000, "bad_multipart"),
    "an empty body": (b"", "truncated_body"),
}


@pytest.mark.parametrize(("data", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bodies_are_refused(data: bytes, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        fed(data)
    assert caught.value.code == code
    assert caught.value.status == 400


def test_a_manifest_above_one_mebibyte_is_refused() -> None:
    with pytest.raises(TooLarge):
        fed(body(part("manifest", b" " * (1 << 20) + b"x")))


@pytest.mark.parametrize(
    ("name", "kept"),
    [("../../etc/passwd", "passwd"), ("C:\\models\\a.pt", "a.pt"), ("a\x00b\r.bin", "ab.bin"), ("x" * 900, "x" * 200)],
)
def test_a_file_name_is_a_label_and_never_a_path(name: str, kept: str) -> None:
    extra = f'; filename="{name}"'.replace("\r", "")
    assert fed(body(part("manifest", MANIFEST), part("file", FILE, extra)))[0].file_names == [kept]


@pytest.mark.parametrize("header", [None, "text/plain", "application/json", "application/x-www-form-urlencoded"])
def test_another_content_type_is_415(header: str | None) -> None:
    with pytest.raises(NotSupported):
        boundary_of(header)


@pytest.mark.parametrize("header", ["multipart/form-data", f"multipart/form-data; boundary={'b' * 400}"])
def test_a_missing_or_endless_boundary_is_refused(header: str) -> None:
    with pytest.raises(BadRequest):
        boundary_of(header)


def test_a_quoted_boundary_is_read() -> None:
    assert boundary_of('multipart/form-data; boundary="a b"') == b"a b"
