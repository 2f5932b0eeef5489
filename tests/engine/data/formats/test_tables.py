"""Files of data, hostile ones among them: what is in them comes out, or a refusal that says what was found."""

import json
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.manifests import DatasetFormat
from tests.engine.jobs.inspection.uploads import MEBIBYTE, mutations, refused
from workers.engine.data.formats.common import MAX_DEFLATE_RATIO, MAX_LINE_BYTES
from workers.engine.data.formats.read import read_columns

Array = NDArray[Any]
X = np.arange(8, dtype=np.float32).reshape(4, 2)
Y = np.array([0, 1, 0, 1])


def arrays(content: bytes, kind: DatasetFormat, folder: Path, *wanted: str) -> dict[str, Array]:
    path = folder / f"data.{kind}"
    path.write_bytes(content)
    return read_columns(path, kind, set(wanted or ("x", "y"))).arrays


def npy(header: str | bytes, data: bytes = bytes(32), version: int = 1) -> bytes:
    raw = header if isinstance(header, bytes) else header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(raw)) + raw + data


def described(dtype: str, shape: str) -> str:
    return f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}"


def npz(folder: Path, x: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    with zipfile.ZipFile(folder / "made.npz", "w") as archive:
        archive.writestr(zipfile.ZipInfo("x.npy"), x, compression)
    return (folder / "made.npz").read_bytes()


def saved(folder: Path, **named: Array) -> bytes:
    np.savez(folder / "saved.npz", **named)  # type: ignore[arg-type]  # the stub takes them for allow_pickle
    return (folder / "saved.npz").read_bytes()


def patched(content: bytes, signature: bytes, offset: int, new: bytes) -> bytes:
    """Change the zip records that begin with a signature."""
    changed, place = bytearray(content), content.find(signature)
    while place >= 0:
        changed[place + offset : place + offset + len(new)] = new
        place = content.find(signature, place + 4)
    return bytes(changed)


ARRAYS = [X, X.T.copy().T, X.astype(">f8"), X.astype(np.uint8), X.astype(np.float16), X > 3, np.array([["a"], ["bc"]])]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}-{array.flags.c_contiguous}")
def test_an_array_comes_out_as_it_was_saved(array: Array, tmp_path: Path) -> None:
    found = arrays(saved(tmp_path, x=array), "npz", tmp_path, "x")["x"]
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    assert found.flags.writeable


HEADERS: dict[str, tuple[str | bytes, str]] = {
    "80 bytes that declare 32 GiB": (described("<f4", f"({2**33},)"), "claims shape (8589934592,)"),
    "a shape that overflows 64 bits": (described("<f4", f"({2**31}, {2**31}, {2**31})"), "claims shape"),
    "an impossible side": (described("<f4", f"({2**70},)"), "impossible shape"),
    "an impossible side beside 0": (described("<f4", f"(0, {2**70})"), "impossible shape"),
    "a negative side": (described("<f4", "(-1,)"), "impossible shape"),
    "two negative sides": (described("<f4", "(-2, -4)"), "impossible shape"),
    "a side that is True": (described("<f4", "(8, True)"), "impossible shape"),
    "no side": (described("<f4", "()"), "shape ()"),
    "sixty-five sides": (described("<f4", "(8," + "1," * 64 + ")"), "rows of numbers or strings"),
    "text without letters": (described("<U0", f"({2**39},)"), "<U0"),
    "void": (described("|V4", "(8,)"), "|V4"),
    "complex numbers": (described("<c8", "(4,)"), "complex64"),
    "records": ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,)}", "rows of numbers or strings"),
    "a type that is none": (described("xx", "(4,)"), "not an npy array"),
    "code instead of a header": ("__import__('os').system('false')", "not an npy array"),
    "a header too deep for Python's parser": ("-" * 5000 + "1", "not an npy array"),
    "brackets too deep for it": ("(" * 4000 + ")" * 4000, "not an npy array"),
    "a header with an unhashable key": ("{[]: 1}", "not an npy array"),
    "a header that is no text": (b"{\xff\xfe", "not an npy array"),
    "a header of 60 kB": (" " * 60_000, "not an npy array"),
}


@pytest.mark.parametrize("trap", HEADERS)
def test_a_hostile_npy_header_is_refused_before_anything_is_allocated(trap: str, tmp_path: Path) -> None:
    header, expected = HEADERS[trap]
    content = npz(tmp_path, npy(header))
    assert expected in refused("unreadable", lambda: arrays(content, "npz", tmp_path, "x"), more=64 * MEBIBYTE)


def test_the_same_bytes_under_an_honest_header_are_read(tmp_path: Path) -> None:
    for version in (1, 2):
        content = npz(tmp_path, npy(described("<f4", "(4, 2)"), version=version))
        assert arrays(content, "npz", tmp_path, "x")["x"].shape == (4, 2)
    refused("unreadable", lambda: arrays(npz(tmp_path, npy("{}", version=3)), "npz", tmp_path, "x"))
    refused("unreadable", lambda: arrays(npz(tmp_path, b"no numpy"), "npz", tmp_path, "x"))


def test_arrays_of_objects_are_refused_and_their_pickles_not_read(tmp_path: Path) -> None:
    objects = saved(tmp_path, x=np.array([{}, 1], dtype=object))
    assert "pickled objects" in refused("code_carrying_format", lambda: arrays(objects, "npz", tmp_path, "x"))
    lie = npz(tmp_path, npy(described("|O", "(1,)"), b"cos\nabort\n(tR."))
    refused("code_carrying_format", lambda: arrays(lie, "npz", tmp_path, "x"))


def test_a_member_that_claims_more_than_deflate_can_hold_is_refused(tmp_path: Path) -> None:
    content = npz(tmp_path, npy(described("<f4", f"({2**20},)")))
    claiming = patched(content, b"PK\x01\x02", 20, struct.pack("<II", 10**8, 10**8))
    assert "claims 100000000 bytes" in refused("unreadable", lambda: arrays(claiming, "npz", tmp_path, "x"))
    honest = npz(tmp_path, npy(described("|u1", f"({MEBIBYTE},)"), bytes(MEBIBYTE)), zipfile.ZIP_DEFLATED)
    assert len(honest) * MAX_DEFLATE_RATIO > MEBIBYTE
    assert arrays(honest, "npz", tmp_path, "x")["x"].nbytes == MEBIBYTE


def bomb(folder: Path) -> bytes:
    """3 MB that inflate to 3 GB of zeros: blocks of deflate that repeat."""
    block, count = 16 * MEBIBYTE, 192
    header = npy(described("<f4", f"({count * block // 16}, 4)"), b"")
    deflate = zlib.compressobj(9, wbits=-15)
    head = deflate.compress(header) + deflate.flush(zlib.Z_FULL_FLUSH)
    zeros = deflate.compress(bytes(block)) + deflate.flush(zlib.Z_FULL_FLUSH)
    stored = npz(folder, head + zeros * count + deflate.flush(zlib.Z_FINISH))
    claimed = struct.pack("<I", len(header) + count * block)
    return patched(patched(stored, b"PK\x01\x02", 24, claimed), b"PK\x01\x02", 10, b"\x08\0")


def test_3_mb_that_inflate_to_3_gb_are_refused_by_what_they_claim(tmp_path: Path) -> None:
    content = bomb(tmp_path)
    assert 3.0e6 < len(content) < 3.5e6
    began = time.process_time()
    message = refused("unreadable", lambda: arrays(content, "npz", tmp_path, "x"), more=32 * MEBIBYTE)
    assert time.process_time() - began < 1.0  # nothing is inflated: that takes several seconds
    assert "found 3221225" in message
    assert "numpy.savez" in message


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(("shape", "data"), [("(8,)", 33), ("(0, 4)", 1)])
def test_bytes_behind_an_array_are_refused(compression: int, shape: str, data: int, tmp_path: Path) -> None:
    content = npz(tmp_path, npy(described("<f4", shape), bytes(data)), compression)
    message = refused("unreadable", lambda: arrays(content, "npz", tmp_path, "x"))
    assert "`x.npy` has 1 bytes behind its array, expected none" in message


ARCHIVES: dict[str, Callable[[Path], bytes]] = {
    "no archive": lambda _: b"x,y\n1,2\n",
    "an empty file": lambda _: b"",
    "an archive without its end": lambda folder: saved(folder, x=X)[:-30],
    "an encrypted member": lambda folder: patched(saved(folder, x=X), b"PK\x01\x02", 8, b"\1\0"),
    "a member by bzip2": lambda folder: npz(folder, npy(described("<f4", "(8,)")), zipfile.ZIP_BZIP2),
    "a member by lzma": lambda folder: npz(folder, npy(described("<f4", "(8,)")), zipfile.ZIP_LZMA),
    "an archive on several disks": lambda folder: saved(folder, x=X).replace(
        b"PK\x05\x06", struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 2) + b"PK\x05\x06"
    ),
    "an array that ends too early": lambda folder: npz(folder, npy(described("<f4", "(9,)"))),
    "an array that ends before its member does": lambda folder: patched(
        npz(folder, npy(described("<f4", "(16,)")), zipfile.ZIP_DEFLATED), b"PK\x01\x02", 24, struct.pack("<I", 500)
    ),
}


@pytest.mark.parametrize("trap", ARCHIVES)
def test_an_archive_that_is_none_is_refused(trap: str, tmp_path: Path) -> None:
    refused("unreadable", lambda: arrays(ARCHIVES[trap](tmp_path), "npz", tmp_path, "x"))


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_an_array_named_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        for _ in range(2):
            archive.writestr("x.npy", npy(described("<f4", "(8,)")))
    content = (tmp_path / "twice.npz").read_bytes()
    assert "two arrays of the same name" in refused("unreadable", lambda: arrays(content, "npz", tmp_path, "x"))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_npz_is_read_or_refused_and_nothing_else(compressed: bool, tmp_path: Path) -> None:
    """Traps: zlib's own error, passwords, names that are no UTF-8, versions of the future."""
    (np.savez_compressed if compressed else np.savez)(tmp_path / "d.npz", x=X, y=Y)
    codes = set()
    for content in mutations((tmp_path / "d.npz").read_bytes(), 800):
        try:
            arrays(content, "npz", tmp_path)
        except UserError as error:
            codes.add(error.code)
    assert {"unreadable"} <= codes <= {"unreadable", "missing_column", "ragged", "empty_dataset"}


def test_a_compressed_array_that_is_cut_short_by_nonsense_is_damaged(tmp_path: Path) -> None:
    """Trap: behind the header, zlib raises an error of its own."""
    whole = npy(described("|u1", "(80000,)"), np.random.default_rng(0).bytes(80_000))
    deflate = zlib.compressobj(wbits=-15)
    half = deflate.compress(whole[:40_000]) + deflate.flush(zlib.Z_FULL_FLUSH) + b"\x07"  # a block of no known type
    stored = npz(tmp_path, half)
    claiming = patched(patched(stored, b"PK\x01\x02", 24, struct.pack("<I", len(whole))), b"PK\x01\x02", 10, b"\x08\0")
    assert "damaged" in refused("unreadable", lambda: arrays(claiming, "npz", tmp_path, "x"))


@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_that_are_no_characters_are_refused(order: str, tmp_path: Path) -> None:
    """Numpy makes text of any numbers, and Python fails where it reads them."""
    points = np.array([ord("a"), ord("b"), 0x110000], f"{order}u4")
    np.savez(tmp_path / "rows", y=points.view(f"{order}U1"))
    with pytest.raises(UserError, match=r"`y\.npy` has numbers that are no characters") as caught:
        read_columns(tmp_path / "rows.npz", "npz", {"y"})
    assert caught.value.code == "unreadable"


@pytest.mark.parametrize("unit", ["ns", "ps", "fs", "as", "us", "ms", "s", "D"])
@pytest.mark.parametrize("kind", ["m", "M"])
def test_the_smallest_times_are_no_zeros(kind: str, unit: str, tmp_path: Path) -> None:
    """Labels that are nanoseconds would all be class 0, without a word."""
    seconds = {"ns": 1e-9, "ps": 1e-12, "fs": 1e-15, "as": 1e-18, "us": 1e-6, "ms": 1e-3, "s": 1.0, "D": 86400.0}[unit]
    counts = np.array([1, -1, 2500, -2500])
    times = np.append(counts.astype(f"{kind}8[{unit}]"), np.array(["NaT"], f"{kind}8[{unit}]"))
    np.savez(tmp_path / "rows", t=times)
    found = read_columns(tmp_path / "rows.npz", "npz", {"t"}).arrays["t"]
    np.testing.assert_allclose(found, [*counts * seconds, np.nan], rtol=1e-6)
    if unit in ("ns", "us", "ms", "s"):
        column = pa.array(counts, pa.duration(unit) if kind == "m" else pa.timestamp(unit))
        pyarrow.parquet.write_table(pa.table({"t": column}), tmp_path / "rows.parquet")
        again = read_columns(tmp_path / "rows.parquet", "parquet", {"t"}).arrays["t"]
        np.testing.assert_allclose(again, counts * seconds, rtol=1e-6)


def test_a_missing_key_is_reported_beside_those_that_there_are(tmp_path: Path) -> None:
    content = saved(tmp_path, features=X, digit=Y)
    message = refused("missing_column", lambda: arrays(content, "npz", tmp_path, "x", "digit"))
    assert "the file has `features`, `digit`, but no `x`" in message


NONE = described("<f4", f"(0, {2**39}, {2**39})")
EMPTY: dict[str, tuple[DatasetFormat, Callable[[Path], bytes], str]] = {
    "npz without rows": ("npz", lambda folder: saved(folder, x=X[:0], y=Y[:0]), "no row"),
    "npz of no row and many sides": ("npz", lambda folder: npz(folder, npy(NONE, b"")), "no row"),
    "npz rows without a number": ("npz", lambda folder: saved(folder, x=X[:, :0], y=Y), "the rows of `x` are empty"),
    "csv of a header alone": ("csv", lambda _: b"x,y\n", "no row"),
    "jsonl without a line": ("jsonl", lambda _: b"\n\n", "no row"),
    "jsonl lists without a number": ("jsonl", lambda _: b'{"x": [], "y": 1}\n', "the rows of `x` are empty"),
}


@pytest.mark.parametrize("what", EMPTY)
def test_data_without_a_row_or_a_number_are_refused(what: str, tmp_path: Path) -> None:
    kind, make, expected = EMPTY[what]
    assert expected in refused("empty_dataset", lambda: arrays(make(tmp_path), kind, tmp_path, "x"))


def test_columns_of_other_lengths_are_refused_with_their_lengths(tmp_path: Path) -> None:
    content = saved(tmp_path, x=X, y=Y[:3])
    assert "{'x': 4, 'y': 3}" in refused("ragged", lambda: arrays(content, "npz", tmp_path))


TEXTS: dict[str, tuple[DatasetFormat, bytes, str, str]] = {
    "csv: nothing": ("csv", b"", "unreadable", "Empty CSV"),
    "csv: a row too short": ("csv", b"x,y\n1,2\n3\n", "unreadable", "Expected 2 columns, got 1"),
    "csv: a row too long": ("csv", b"x,y\n1,2\n3,4,5\n", "unreadable", "Expected 2 columns, got 3"),
    "csv: NUL": ("csv", b"x,y\n1,\x002\n", "unreadable", "NUL"),
    "csv: UTF-16": ("csv", "x,y\n1,2\n".encode("utf-16"), "unreadable", "NUL"),
    "csv: a name that is no UTF-8": ("csv", b"x,y,\xff\n1,2,3\n", "unreadable", "UTF-8"),
    "csv: text that is no UTF-8": ("csv", b"x,y\n1,\xff\n", "unreadable", "`y` is of type binary"),
    "csv: a column twice": ("csv", b"x,y,x\n1,2,3\n", "unreadable", "`x` more than once"),
    "csv: no such column": ("csv", b"x,z\n1,2\n", "missing_column", "has `x`, `z`, but no `y`"),
    "jsonl: no JSON": ("jsonl", b'{"x": 1, "y": 2}\n{"x": 1,\n', "unreadable", "line 2 is not strict JSON"),
    "jsonl: something behind": ("jsonl", b'{"x": 1, "y": 2} 3\n', "unreadable", "line 1 is not strict JSON"),
    "jsonl: a list of text and numbers": (
        "jsonl",
        b'{"x": ["a", 1], "y": 2}\n',
        "wrong_type",
        "text in lists, expected lists of numbers, or one text",
    ),
    "jsonl: a list": ("jsonl", b"[1, 2]\n", "unreadable", "line 1 is not a JSON object"),
    "jsonl: NaN": ("jsonl", b'{"x": NaN, "y": 2}\n', "unreadable", "line 1 is not strict JSON"),
    "jsonl: Infinity": ("jsonl", b'{"x": -Infinity, "y": 2}\n', "unreadable", "line 1 is not strict JSON"),
    "jsonl: a key twice": ("jsonl", b'{"x": 1, "x": 2, "y": 2}\n', "unreadable", "duplicate keys"),
    "jsonl: deep nesting": ("jsonl", b'{"x": ' + b"[" * 100_000 + b"\n", "unreadable", "line 1 is not strict JSON"),
    "jsonl: NUL": ("jsonl", b'{"x": 1, "y": 2}\n\0\n', "unreadable", "NUL"),
    "jsonl: no UTF-8": ("jsonl", b'{"x": 1, "y": "\xff"}\n', "unreadable", "not UTF-8"),
    "jsonl: an integer of 401 digits": ("jsonl", b'{"x": 1' + b"0" * 400 + b', "y": 2}\n', "not_finite", "too large"),
    "jsonl: an integer of 5001 digits": ("jsonl", b'{"x": 1' + b"0" * 5000 + b', "y": 2}\n', "unreadable", "line 1"),
    "jsonl: numbers and text": ("jsonl", b'{"x": 1, "y": 2}\n{"x": "a", "y": 2}\n', "unreadable", "`x` mixes"),
    "jsonl: an object": ("jsonl", b'{"x": {"a": 1}, "y": 2}\n', "unreadable", "`x` mixes"),
    "jsonl: rows of other lengths": ("jsonl", b'{"x": [1, 2], "y": 2}\n{"x": [1], "y": 2}\n', "ragged", "rows of 1, 2"),
    "jsonl: a list beside a number": ("jsonl", b'{"x": 1, "y": 2}\n{"x": [1, 2], "y": 2}\n', "ragged", "rows of 1, 2"),
    "jsonl: text in a list": ("jsonl", b'{"x": ["1", "2"], "y": 2}\n', "wrong_type", "`x` holds text"),
    "jsonl: text in a list with null": ("jsonl", b'{"x": ["1", null], "y": 2}\n', "wrong_type", "`x` holds text"),
    "jsonl: no such key": ("jsonl", b'{"x": 1}\n{"z": 1}\n', "missing_column", "has `x`, `z`, but no `y`"),
}


@pytest.mark.parametrize("trap", TEXTS)
def test_a_hostile_text_file_is_refused_with_what_was_found(trap: str, tmp_path: Path) -> None:
    kind, content, code, expected = TEXTS[trap]
    assert expected in refused(code, lambda: arrays(content, kind, tmp_path), more=3 << 30)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_huge_line_is_refused_before_it_is_parsed(kind: DatasetFormat, tmp_path: Path) -> None:
    content = (b"x,y\n1," if kind == "csv" else b'{"x": 1, "y": ') + b"1" * (MAX_LINE_BYTES + 2 * MEBIBYTE) + b"\n"
    assert "a line is longer" in refused("unreadable", lambda: arrays(content, kind, tmp_path), more=64 * MEBIBYTE)
    many = (b"x,y\n" if kind == "csv" else b"") + (b"1,2\n" if kind == "csv" else b'{"x": 1, "y": 2}\n') * 300_000
    assert len(arrays(many, kind, tmp_path)["x"]) == 300_000


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_byte_order_marks_and_line_ends_make_no_difference(mark: bytes, end: bytes, tmp_path: Path) -> None:
    csv = arrays(mark + b"x,y" + end + b"1,2" + end + b"3,4", "csv", tmp_path)
    jsonl = arrays(mark + b'{"x": 1, "y": 2}' + end + end + b'{"y": 4, "x": 3}' + end, "jsonl", tmp_path)
    for found in (csv, jsonl):
        assert {name: column.tolist() for name, column in found.items()} == {"x": [1, 3], "y": [2, 4]}


def test_one_long_word_gives_no_row_its_room(tmp_path: Path) -> None:
    """Trap: numpy's text has one width, so 2 MiB in one of 4000 rows would be 32 GiB."""
    rows = [{"x": 1, "y": "a"}] * 4000 + [{"x": 1, "y": "b" * 2 * MEBIBYTE}]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    found = arrays(content, "jsonl", tmp_path)["y"]
    assert found.nbytes < 8 * MEBIBYTE
    assert (found[0], found[-1][:3]) == ("a", "bbb")
