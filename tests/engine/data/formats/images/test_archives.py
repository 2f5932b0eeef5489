"""Archives in the convention of ImageFolder are read as columns; hostile and confused ones are refused by name."""

import gzip
import json
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from app.contracts.problems import UserError
from tests.engine.data.formats.images.archives import columns_of, encoded, manifest, noise, tarred, zipped
from workers.engine.data.facts import facts_of
from workers.engine.data.reading import read_dataset

IMAGE = encoded(noise())
FOLDERS = {
    f"{split}/{label}/{i}.png": IMAGE for split in ("train", "val", "test") for label in ("cat", "dog") for i in "01"
}

IMAGES = {"image": {"kind": "image", "size": (6, 8)}}


def test_folders_are_classes_and_splits(tmp_path: Path) -> None:
    found = columns_of(
        zipped(tmp_path / "a.zip", FOLDERS), "image", "label", "split", "file_name", text=("label", "split")
    )
    assert found.arrays["label"].tolist() == 3 * ["cat", "cat", "dog", "dog"]
    assert found.arrays["split"].tolist() == 4 * ["test"] + 4 * ["train"] + 4 * ["validation"]
    assert found.arrays["file_name"].tolist() == sorted(FOLDERS) == [found.encoded["image"].name(i) for i in range(12)]


@pytest.mark.parametrize("root", ["photos", "train", "photos/2026"])
def test_the_folder_that_was_packed_changes_nothing(root: str, tmp_path: Path) -> None:
    files = {f"{root}/{label}/{i}.png": IMAGE for label in ("cat", "dog") for i in "01"}
    found = columns_of(zipped(tmp_path / "a.zip", files), "image", "label", text=("label",))
    assert found.arrays["label"].tolist() == ["cat", "cat", "dog", "dog"]


def test_rows_are_in_the_order_of_their_paths_however_the_folder_was_packed(tmp_path: Path) -> None:
    files = {f"{label}/{i}.png": encoded(noise(seed=i)) for i in range(4) for label in ("dog", "cat")}
    one = zipped(tmp_path / "one.zip", files)
    other = zipped(tmp_path / "other.zip", dict(reversed(files.items())), zipfile.ZIP_DEFLATED)
    first, second = (read_dataset(path, manifest()) for path in (one, other))
    np.testing.assert_array_equal(first.inputs["image"], second.inputs["image"])
    assert first.targets["label"].values.tolist() == 4 * [0] + 4 * [1]
    np.testing.assert_array_equal(first.inputs["image"][1].numpy(), noise(seed=1).transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("folder", ["", "photos/"])
def test_a_metadata_table_gives_columns_and_classes(kind: str, folder: str, tmp_path: Path) -> None:
    rows = [{"file_name": f"{i}.png", "label": "dog" if i % 2 else "cat", "age": i + 0.5} for i in range(6)]
    rows.reverse()
    lines = [json.dumps(row) for row in rows] if kind == "jsonl" else ["file_name,label,age"]
    lines += [] if kind == "jsonl" else [f"{row['file_name']},{row['label']},{row['age']}" for row in rows]
    files = {f"{folder}{i}.png": IMAGE for i in range(6)} | {f"{folder}metadata.{kind}": "\n".join(lines).encode()}
    found = columns_of(
        zipped(tmp_path / "a.zip", files), "image", "label", "age", text=("label",), categories=("label",)
    )
    assert found.arrays["label"].tolist() == 3 * ["cat", "dog"]
    assert found.arrays["age"].tolist() == [i + 0.5 for i in range(6)]
    texts = found.written["label"].texts()
    assert [texts[code][0] for code in found.written["label"].codes] == 3 * ["cat", "dog"]


def test_what_operating_systems_add_is_left_out(tmp_path: Path) -> None:
    added = {
        "__MACOSX/cat/._0.png": b"?",
        "cat/.DS_Store": b"?",
        "dog/Thumbs.db": b"?",
        "dog/": b"",
        ".hidden/a.png": b"?",
    }
    files = {"cat/0.png": IMAGE, "dog/0.png": IMAGE} | added
    assert len(columns_of(zipped(tmp_path / "a.zip", files), "image").encoded["image"]) == 2


def test_facts_state_what_a_student_of_images_reads(tmp_path: Path) -> None:
    described = manifest(splits={"column": "split"})
    facts = facts_of(read_dataset(zipped(tmp_path / "a.zip", FOLDERS), described), described)
    image = facts.inputs["image"]
    assert (image.shape, image.layout) == ((3, 6, 8), "channels_last")
    assert image.raw is not None
    assert (image.raw.dtype, image.raw.shape) == ("uint8", (6, 8, 3))
    assert facts.splits == {"train": 4, "validation": 4, "test": 4}


@pytest.mark.parametrize("packed_as", ["{}", "./{}"])
def test_a_tar_gives_the_rows_of_the_zip(packed_as: str, tmp_path: Path) -> None:
    files = {f"{label}/{i}.png": encoded(noise(seed=i)) for i in range(4) for label in ("dog", "cat")}
    one = read_dataset(zipped(tmp_path / "a.zip", files), manifest())
    other = read_dataset(tarred(tmp_path / "a.tar", files, packed_as=packed_as), manifest())
    np.testing.assert_array_equal(one.inputs["image"], other.inputs["image"])
    assert torch.equal(one.targets["label"].values, other.targets["label"].values)


def table(*names: str) -> bytes:
    return "\n".join(["file_name,label", *(f"{name},cat" for name in names)]).encode()


Files = Mapping[str, bytes]
REFUSED: dict[str, tuple[Files, str, str]] = {
    "a path upwards": ({"../a.png": IMAGE}, "bad_file_name", "../a.png"),
    "a path upwards within": ({"cat/../../a.png": IMAGE}, "bad_file_name", "cat/../../a.png"),
    "an absolute path": ({"/etc/a.png": IMAGE}, "bad_file_name", "/etc/a.png"),
    "a path of Windows": ({"cat\\a.png": IMAGE}, "bad_file_name", "cat"),
    "a name that cannot be printed": ({"cat/\x1b[2J.png": IMAGE}, "bad_file_name", "printed"),
    "no image": ({"cat/.keep": b""}, "empty_dataset", "no image"),
    "files of another kind": ({"cat/0.png": IMAGE, "cat/0.tif": IMAGE}, "unsupported_image", "cat/0.tif"),
    "a text": ({"cat/0.png": IMAGE, "labels.txt": b"cat"}, "unsupported_image", "labels.txt"),
    "two tables": (
        {"a/metadata.csv": table("0.png"), "b/metadata.csv": table(), "a/0.png": IMAGE},
        "unreadable",
        "a/metadata.csv",
    ),
    "an image that the table lacks": (
        {"metadata.csv": table("0.png"), "0.png": IMAGE, "1.png": IMAGE},
        "metadata_mismatch",
        "1.png",
    ),
    "a name without an image": (
        {"metadata.csv": table("0.png", "9.png"), "0.png": IMAGE},
        "metadata_mismatch",
        "9.png",
    ),
    "an image that is listed twice": (
        {"metadata.csv": table("0.png", "0.png"), "0.png": IMAGE},
        "metadata_mismatch",
        "twice",
    ),
    "a table without names": ({"metadata.csv": b"label\ncat", "0.png": IMAGE}, "missing_column", "file_name"),
    "images without folders": ({"0.png": IMAGE, "1.png": IMAGE}, "missing_column", "label"),
    "a damaged image": ({"cat/0.png": IMAGE, "dog/1.png": IMAGE[:-30]}, "broken_image", "dog/1.png"),
    "a text named as an image": ({"cat/0.png": b"text", "dog/1.png": IMAGE}, "unsupported_image", "cat/0.png"),
    "another class": ({"cat/0.png": IMAGE, "horse/1.png": IMAGE}, "label_out_of_range", "horse"),
}


def code_of(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        read_dataset(path, manifest(splits={"fractions": {"train": 1.0}}))
    return caught.value


@pytest.mark.parametrize("case", REFUSED)
def test_a_confused_archive_is_refused_by_name(case: str, tmp_path: Path) -> None:
    files, code, named = REFUSED[case]
    error = code_of(zipped(tmp_path / "a.zip", files))
    assert error.code == code
    assert named in error.message


def linked(path: Path) -> None:
    entry = zipfile.ZipInfo("cat/0.png")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, "/etc/passwd")


def twice(path: Path) -> None:
    zipped(path, {"cat/0.png": IMAGE, "cat/1.png": IMAGE})
    path.write_bytes(path.read_bytes().replace(b"cat/1.png", b"cat/0.png"))


def changed(*places: tuple[int, bytes], of: bytes) -> Callable[[Path], None]:
    """An archive of which some bytes of its first directory entry are others. Source: APPNOTE.TXT, 4.3.12."""

    def write(path: Path) -> None:
        zipped(path, {"cat/0.png": of}, zipfile.ZIP_DEFLATED)
        content = bytearray(path.read_bytes())
        entry = content.index(b"PK\x01\x02")
        for place, values in places:
            content[entry + place : entry + place + len(values)] = values
        path.write_bytes(content)

    return write


def truncated(path: Path) -> None:
    zipped(path, FOLDERS)
    path.write_bytes(path.read_bytes()[:-100])


def no_archive(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 not one")


def bomb(path: Path) -> None:
    zipped(path, {"cat/0.png": bytes(300 << 20)}, zipfile.ZIP_DEFLATED)


def tar_with(**header: object) -> Callable[[Path], None]:
    """A tar of an image whose header has other fields."""

    def write(path: Path) -> None:
        tarred(path, {"cat/0.png": IMAGE}, header=header)

    return write


def truncated_tar(path: Path) -> None:
    tarred(path, {"cat/0.png": IMAGE, "dog/1.png": encoded(noise(64, 64))})
    path.write_bytes(path.read_bytes()[:2000])


def compressed_tar(path: Path) -> None:
    path.write_bytes(gzip.compress(tarred(path, {"cat/0.png": IMAGE}).read_bytes()))


def nameless(path: Path) -> None:
    """The last file of the directory has a name of no characters."""
    zipped(path, {**FOLDERS, "z": IMAGE})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 28 : entry + 32] = struct.pack("<HH", 0, 1)
    path.write_bytes(content)


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link": (linked, "bad_file_name"),
    "a name of no characters": (nameless, "bad_file_name"),
    "the same name twice": (twice, "unreadable"),
    "an encrypted file": (changed((8, struct.pack("<H", 1)), of=IMAGE), "unreadable"),
    "an unknown compression": (changed((10, struct.pack("<H", 97)), of=IMAGE), "unreadable"),
    "a false size": (changed((24, struct.pack("<I", 1 << 31)), of=IMAGE), "unreadable"),
    "a wrong checksum": (changed((16, b"\0\0\0\0"), of=IMAGE), "unreadable"),
    "a place beyond the end": (changed((42, struct.pack("<I", 1 << 30)), of=IMAGE), "unreadable"),
    "a truncated archive": (truncated, "unreadable"),
    "300 MiB of zeros": (bomb, "unreadable"),
    "no archive": (no_archive, "unreadable"),
    "a tar with a symbolic link": (tar_with(type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0), "bad_file_name"),
    "a tar with a hard link": (tar_with(type=tarfile.LNKTYPE, linkname="cat/1.png", size=0), "bad_file_name"),
    "a tar with a device": (tar_with(type=tarfile.CHRTYPE, size=0), "bad_file_name"),
    "a tar with a pipe": (tar_with(type=tarfile.FIFOTYPE, size=0), "bad_file_name"),
    "a tar with a path upwards": (tar_with(name="../0.png"), "bad_file_name"),
    "a tar with an absolute path": (tar_with(name="/etc/0.png"), "bad_file_name"),
    "a tar with a false size": (tar_with(size=1 << 40), "unreadable"),
    "a truncated tar": (truncated_tar, "unreadable"),
    "a compressed tar": (compressed_tar, "unreadable"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused(case: str, tmp_path: Path) -> None:
    write, code = HOSTILE[case]
    write(tmp_path / "a.zip")
    assert code_of(tmp_path / "a.zip").code == code


def test_an_input_of_images_needs_a_column_of_images(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FOLDERS)
    described = manifest(inputs={"x": {"kind": "image", "size": (6, 8), "column": "label"}}, targets={})
    with pytest.raises(UserError) as caught:
        read_dataset(path, described)
    assert caught.value.code == "wrong_type"
    np.savez(tmp_path / "a.npz", image=np.zeros((4, 6, 8, 3), np.uint8))
    with pytest.raises(UserError) as caught:
        read_dataset(tmp_path / "a.npz", manifest(format="npz", targets={}))
    assert caught.value.code == "wrong_type"
    assert '"kind": "array"' in caught.value.message


@pytest.mark.parametrize(
    "also",
    [
        {"targets": {"image": {"kind": "class", "classes": 2}}},
        {"inputs": {**IMAGES, "x": {"kind": "array", "columns": ("image",)}}},
        {"inputs": {**IMAGES, "x": {"kind": "category", "columns": ("image",)}}},
        {"weights": {"image": {}}},
        {"splits": {"column": "image"}},
    ],
)
@pytest.mark.parametrize("kind", ["images", "parquet"])
def test_a_column_of_images_is_nothing_else(also: dict[str, Any], kind: str, tmp_path: Path) -> None:
    zipped(tmp_path / "images", FOLDERS)
    pa.parquet.write_table(
        pa.table({"image": [encoded(noise())] * 4, "label": ["cat", "dog"] * 2}), tmp_path / "parquet"
    )
    with pytest.raises(UserError) as caught:
        read_dataset(tmp_path / kind, manifest(format=kind, **also))
    assert caught.value.code == "wrong_type"
    assert "`image` has images" in caught.value.message


def test_a_parquet_file_with_encoded_images_gives_the_rows_of_the_archive(tmp_path: Path) -> None:
    """As plain bytes, and as the struct of Hugging Face's `Image` feature."""
    files = {f"{label}/{i}.png": encoded(noise(seed=i)) for label in ("cat", "dog") for i in range(3)}
    expected = read_dataset(zipped(tmp_path / "a.zip", files), manifest())
    labels = [name.split("/")[0] for name in files]
    columns = ([*files.values()], [{"bytes": content, "path": name} for name, content in files.items()])
    for i, images in enumerate(columns):
        pa.parquet.write_table(
            pa.table({"image": images, "label": labels}), tmp_path / f"{i}.parquet", row_group_size=4
        )
        found = read_dataset(tmp_path / f"{i}.parquet", manifest(format="parquet"))
        np.testing.assert_array_equal(found.inputs["image"], expected.inputs["image"])
        assert found.targets["label"].values.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("images", "code", "named"),
    [
        ([IMAGE, IMAGE[:-30]], "broken_image", "image at row 1"),
        ([IMAGE, None], "wrong_type", "row 1"),
        ([{"bytes": None, "path": "0.png"}, {"bytes": None, "path": "1.png"}], "wrong_type", "row 0"),
        (["0.png", "1.png"], "wrong_type", "string"),
        ([[1, 2], [3, 4]], "wrong_type", "list"),
    ],
)
def test_a_parquet_file_whose_images_cannot_be_read_is_refused_by_row(
    images: list[object], code: str, named: str, tmp_path: Path
) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if isinstance(images[0], dict) else None
    table_of = pa.table({"image": pa.array(images, type=kind), "label": ["cat", "dog"]})
    pa.parquet.write_table(table_of, tmp_path / "a.parquet")
    with pytest.raises(UserError) as caught:
        read_dataset(tmp_path / "a.parquet", manifest(format="parquet", splits={"fractions": {"train": 1.0}}))
    assert caught.value.code == code
    assert named in caught.value.message


def test_images_need_no_target(tmp_path: Path) -> None:
    found = read_dataset(zipped(tmp_path / "a.zip", {f"{i}.png": IMAGE for i in range(8)}), manifest(targets={}))
    assert (found.rows, found.inputs["image"].shape) == (8, (8, 3, 6, 8))
