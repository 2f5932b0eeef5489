"""Mask images beside images: in archives by a table, in parquet by a column."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.contracts.problems import UserError
from app.contracts.resources.manifests import DatasetManifest
from tests.engine.data.formats.images.archives import encoded, noise, zipped
from workers.engine.data.dataset import Dataset
from workers.engine.data.reading import read_dataset, splits_of

HEIGHT, WIDTH = 6, 8
Labels = NDArray[np.uint8]


def labels(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Labels:
    """Random classes of 3 for each pixel."""
    return np.random.default_rng(seed).integers(0, 3, (height, width), np.uint8)


def palette(numbers: Labels) -> bytes:
    """A mask whose numbers are indices of a palette of colours."""
    image = Image.fromarray(numbers, "P")
    image.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200])
    return encoded(image)


def manifest(fit: str = "crop", size: tuple[int, int] = (HEIGHT, WIDTH), **target: Any) -> DatasetManifest:
    return DatasetManifest.model_validate(
        {
            "name": "scenes",
            "format": "images",
            "inputs": {"image": {"kind": "image", "size": size, "fit": fit}},
            "targets": {"map": {"kind": "map", "classes": 3, "column": "mask", **target}},
            "splits": {"fractions": {"train": 1.0}},
        }
    )


def archive(path: Path, masks: dict[str, bytes | None], images: dict[str, bytes] | None = None) -> Path:
    """Images `<name>.png` with a table that names the mask of each, which may be none."""
    files = images or {f"{name}.png": encoded(noise(HEIGHT, WIDTH, seed=i)) for i, name in enumerate(masks)}
    rows = [{"file_name": f"{name}.png", "mask": f"masks/{name}.png" if mask else None} for name, mask in masks.items()]
    files["metadata.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    files |= {f"masks/{name}.png": mask for name, mask in masks.items() if mask is not None}
    return zipped(path / "a.zip", files)


def test_masks_are_no_rows_and_rows_without_one_have_no_label(tmp_path: Path) -> None:
    path = archive(tmp_path, {"a": palette(labels(1)), "b": None, "c": encoded(labels(2))})
    found = read_dataset(path, manifest())
    target = found.targets["map"]
    assert found.rows == len(found.inputs["image"]) == 3
    assert target.labelled.tolist() == [True, False, True]
    np.testing.assert_array_equal(target.values[0].reshape(HEIGHT, WIDTH), labels(1))
    np.testing.assert_array_equal(target.values[2].reshape(HEIGHT, WIDTH), labels(2))
    assert len(splits_of(path, manifest(), 3, {})["train"]) == 3


def test_a_black_and_white_mask_has_two_classes(tmp_path: Path) -> None:
    bits = labels(3) > 0
    found = read_dataset(archive(tmp_path, {"a": encoded(Image.fromarray(bits))}), manifest())
    np.testing.assert_array_equal(found.targets["map"].values[0].reshape(HEIGHT, WIDTH), bits)


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_a_mask_is_brought_to_the_place_of_its_image(fit: str, tmp_path: Path) -> None:
    """An image whose pixels are its mask, times 100: the two agree wherever no filter has mixed two classes."""
    large = np.kron(2 * (labels(4, 4, 7) > 1), np.ones((12, 12))).astype(np.uint8)
    masks: dict[str, bytes | None] = {"a": encoded(large)}
    path = archive(tmp_path, masks, {"a.png": encoded(large * 100)})
    found = read_dataset(path, manifest(fit, (24, 20)))
    pixels = found.inputs["image"][0, 0].numpy().astype(int)
    classes = found.targets["map"].values[0].numpy().reshape(24, 20)
    plain = pixels % 200 == 0
    inside = classes >= 0
    assert (plain & inside).sum() > 100
    np.testing.assert_array_equal(classes[plain & inside], pixels[plain & inside] // 100)
    assert inside.all() == (fit != "pad"), "borders have no label"


def test_a_map_may_be_smaller_than_its_image(tmp_path: Path) -> None:
    large = np.kron(labels(5, 3, 4), np.ones((2, 2), np.uint8))
    found = read_dataset(archive(tmp_path, {"a": encoded(large)}), manifest(shape=(3, 4)))
    np.testing.assert_array_equal(found.targets["map"].values[0].reshape(3, 4), labels(5, 3, 4))
    with pytest.raises(UserError, match="other proportions"):
        read_dataset(archive(tmp_path, {"a": encoded(large)}), manifest(shape=(4, 4)))


def tables(images: list[Any], masks: list[Any], path: Path) -> Dataset:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if isinstance(images[0], dict) else pa.binary()
    columns = {"image": pa.array(images, type=kind), "mask": pa.array(masks, type=kind)}
    pa.parquet.write_table(pa.table(columns), path / "a.parquet")
    return read_dataset(path / "a.parquet", manifest().model_copy(update={"format": "parquet"}))


@pytest.mark.parametrize("as_struct", [False, True])
def test_a_column_of_parquet_has_the_masks_of_an_archive(as_struct: bool, tmp_path: Path) -> None:
    def cell(content: bytes | None) -> Any:
        return {"bytes": content, "path": "a"} if as_struct and content is not None else content

    masks = [palette(labels(1)), None, encoded(labels(2))]
    images = [encoded(noise(HEIGHT, WIDTH, seed=i)) for i in range(3)]
    found = tables([*map(cell, images)], [*map(cell, masks)], tmp_path)
    expected = read_dataset(archive(tmp_path, dict(zip("abc", masks, strict=True))), manifest())
    np.testing.assert_array_equal(found.targets["map"].values, expected.targets["map"].values)


def test_a_path_in_place_of_a_mask_is_no_missing_mask(tmp_path: Path) -> None:
    images = [{"bytes": encoded(noise(HEIGHT, WIDTH)), "path": "a"}] * 2
    masks = [{"bytes": encoded(labels()), "path": "a"}, {"bytes": None, "path": "b.png"}]
    with pytest.raises(UserError, match="no bytes at row 1"):
        tables(images, masks, tmp_path)


TRAPS: dict[str, tuple[bytes, str, str]] = {
    "colours": (encoded(noise(HEIGHT, WIDTH)), "unsupported_image", "mode RGB"),
    "16 bits": (encoded(Image.fromarray(labels().astype(np.uint16))), "unsupported_image", "mode I;16"),
    "a lossy format": (encoded(labels(), "JPEG"), "unsupported_image", "no image of PNG"),
    "no image": (b"numbers", "unsupported_image", "no image of PNG"),
    "a truncated mask": (encoded(labels())[:-40], "broken_image", "truncated"),
    "another size": (encoded(labels(0, WIDTH, HEIGHT)), "shape_mismatch", "6 x 8 pixels, its image"),
    "a class too much": (encoded(labels() + 1), "label_out_of_range", "the label 3 in `masks/a.png`"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_is_no_mask_is_refused_by_the_name_of_its_file(trap: str, tmp_path: Path) -> None:
    content, code, named = TRAPS[trap]
    with pytest.raises(UserError) as caught:
        read_dataset(archive(tmp_path, {"a": content}), manifest())
    assert caught.value.code == code
    assert "masks/a.png" in caught.value.message
    assert named in caught.value.message


def test_a_turned_image_has_the_mask_that_a_person_draws(tmp_path: Path) -> None:
    turned = Image.fromarray(noise(WIDTH, HEIGHT))
    exif = turned.getexif()
    exif[0x0112] = 6
    image = encoded(turned, "JPEG", exif=exif)
    same = Image.fromarray(np.rot90(labels()).copy())  # stored as the image is, and turned as it is
    for mask in (encoded(labels()), encoded(same, exif=exif)):
        files = {"a.jpg": image, "m.png": mask, "metadata.csv": b"file_name,mask\na.jpg,m.png\n"}
        found = read_dataset(zipped(tmp_path / "a.zip", files), manifest())
        np.testing.assert_array_equal(found.targets["map"].values[0].reshape(HEIGHT, WIDTH), labels())


def test_a_mask_that_lies_as_its_image_is_stored_is_refused_by_its_orientation(tmp_path: Path) -> None:
    turned = Image.fromarray(noise(WIDTH, HEIGHT))
    exif = turned.getexif()
    exif[0x0112] = 6
    lying = encoded(labels(0, WIDTH, HEIGHT))
    table = b"file_name,mask\na.jpg,m.png\n"
    files = {"a.jpg": encoded(turned, "JPEG", exif=exif), "m.png": lying, "metadata.csv": table}
    with pytest.raises(UserError, match="8 x 6 after its orientation by EXIF: write the mask upright") as caught:
        read_dataset(zipped(tmp_path / "a.zip", files), manifest())
    assert caught.value.code == "shape_mismatch"


@pytest.mark.parametrize("targets", [{}, {"map": {"kind": "map", "classes": 3}}])
def test_masks_that_no_target_names_are_refused_by_the_way_to_name_them(
    targets: dict[str, Any], tmp_path: Path
) -> None:
    read_as = manifest().model_dump() | {"targets": targets}
    with pytest.raises(UserError, match="where these are masks, name their column") as caught:
        read_dataset(archive(tmp_path, {"a": encoded(labels())}), DatasetManifest.model_validate(read_as))
    assert caught.value.code == "metadata_mismatch"
    assert "`masks/a.png`" in caught.value.message


@pytest.mark.parametrize(
    ("table", "code", "named"),
    [
        (b"file_name,mask\na.png,c.png\n", "metadata_mismatch", "c.png"),
        (b"file_name,mask\na.png,\n", "metadata_mismatch", "m.png"),
        (b"file_name,mask\na.png,m.png\nm.png,\n", "metadata_mismatch", "m.png"),
        (b"file_name\na.png\nm.png\n", "missing_column", "mask"),
    ],
)
def test_a_table_names_each_file_as_a_row_or_as_a_mask(table: bytes, code: str, named: str, tmp_path: Path) -> None:
    files = {"a.png": encoded(noise(HEIGHT, WIDTH)), "m.png": encoded(labels()), "metadata.csv": table}
    with pytest.raises(UserError) as caught:
        read_dataset(zipped(tmp_path / "a.zip", files), manifest())
    assert caught.value.code == code
    assert named in caught.value.message
