"""Datasets of several files: the rows of one file after those of the other, and errors that name the file."""

import json
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.wire.orders import DataFile
from tests.engine.data.formats.images.archives import encoded, noise, zipped
from workers.engine.data.dataset import Dataset
from workers.engine.data.facts import facts_of
from workers.engine.data.formats.arrow_files import _Files
from workers.engine.data.formats.files.shards import Places, concatenated
from workers.engine.data.formats.read import read_columns
from workers.engine.data.formats.written import FileColumns, Written
from workers.engine.data.reading import read_dataset

ROWS = 20
CUTS = (0, 6, 7, ROWS)
NAMES = ("part-0", "part-1", "part-2")
Rows = dict[str, list[Any]]
MANIFEST: dict[str, Any] = {
    "name": "in parts",
    "inputs": {
        "x": {"kind": "array", "columns": ["a", "b"]},
        "c": {"kind": "category", "columns": ["c"]},
        "t": {"kind": "text", "columns": ["t"]},
    },
    "targets": {"y": {"kind": "class", "classes": 2}, "v": {"kind": "value"}},
    "weights": {"w": {}},
    "splits": {"column": "s"},
}
WITHOUT_TEXT: dict[str, Any] = {"inputs": {name: MANIFEST["inputs"][name] for name in ("x", "c")}}
FORMATS = ("csv", "jsonl", "parquet", "npz")


def content() -> Rows:
    draw = np.random.default_rng(0)
    return {
        "a": draw.normal(size=ROWS).astype(np.float32).tolist(),
        "b": list(range(ROWS)),
        "c": [f"c{i % 5}" for i in range(ROWS)],
        "t": [f"row {i} of a text" for i in range(ROWS)],
        "y": [i % 2 for i in range(ROWS)],
        "v": draw.normal(size=ROWS).tolist(),
        "w": [1.0 + i for i in range(ROWS)],
        "s": [("train", "validation", "test")[i % 3] for i in range(ROWS)],
    }


def write(path: Path, kind: str, rows: Mapping[str, list[Any]]) -> Path:
    count = len(next(iter(rows.values())))
    if kind == "npz":
        with path.open("wb") as file:
            np.savez(file, **{name: np.array(column) for name, column in rows.items()})  # type: ignore[arg-type]
    elif kind == "parquet":
        pa.parquet.write_table(pa.table(dict(rows)), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({n: c[i] for n, c in rows.items()}) + "\n" for i in range(count)))
    else:
        lines = [",".join(str(column[i]) for column in rows.values()) for i in range(count)]
        path.write_text("\n".join([",".join(rows), *lines]) + "\n")
    return path


def parts_of(folder: Path, kind: str, rows: Rows, changes: Mapping[int, Rows] = {}) -> list[DataFile]:
    """The rows in three files; `changes`: columns of the file of that number that are others."""
    found = []
    for i, name in enumerate(NAMES):
        part = {column: values[CUTS[i] : CUTS[i + 1]] for column, values in rows.items()} | changes.get(i, {})
        found.append(DataFile(name=name, path=str(write(folder / name, kind, part))))
    return found


def manifest(kind: str, **changes: Any) -> DatasetManifest:
    return DatasetManifest.model_validate_json(json.dumps({**MANIFEST, "format": kind, **changes}))


def same(one: Dataset, other: Dataset) -> None:
    assert one.inputs.keys() == other.inputs.keys()
    assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
    assert all(torch.equal(one.targets[name].values, other.targets[name].values) for name in one.targets)
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert all(torch.equal(one.splits[name], other.splits[name]) for name in one.splits)
    assert one.transforms == other.transforms
    assert one.tokenizers == other.tokenizers


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("changes", [WITHOUT_TEXT, {"inputs": {"t": MANIFEST["inputs"]["t"]}}], ids=["table", "texts"])
def test_rows_in_several_files_are_those_of_one_file(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    described = manifest(kind, **changes)
    whole = read_dataset(write(tmp_path / "whole", kind, content()), described, kept=4)
    found = read_dataset(parts_of(tmp_path, kind, content()), described, kept=4)
    same(found, whole)
    facts, expected = facts_of(found, described), facts_of(whole, described)
    assert facts.files == dict(zip(NAMES, (6, 1, 13), strict=True))
    assert facts.model_copy(update={"files": {}}) == expected
    assert "files" not in json.loads(expected.model_dump_json())


def test_integers_in_one_file_and_fractions_in_another_are_numbers(tmp_path: Path) -> None:
    rows = {**content(), "v": [1] * 7 + [0.5] * 13}
    described = manifest("csv", **WITHOUT_TEXT)
    found = read_dataset(parts_of(tmp_path, "csv", rows), described)
    same(found, read_dataset(write(tmp_path / "whole", "csv", rows), described))


class Part(NDArray[np.generic]):
    """A column of one file, whose length is asked for when it is copied."""

    def __len__(self) -> int:
        ALIVE.append(sum(each() is not None for each in PARTS))
        return int(self.shape[0])


PARTS: list[weakref.ref[Any]] = []
ALIVE: list[int] = []
"""How many of the parts were in memory when the length of one was asked for."""


def test_the_rows_of_a_file_are_freed_once_they_are_copied() -> None:
    """So that a column of many files is in memory once, and the rows of one file twice."""
    read: dict[str, FileColumns] = {}
    for i in range(4):
        array = np.full((3, 2), i, np.int64 if i else np.float32).view(Part)
        codes = np.arange(6, dtype=np.int32).reshape(3, 2)
        written = Written(lambda: [("a",)] * 6, codes, "text")
        read[str(i)] = FileColumns({"x": array}, {"x": written}, header=frozenset({"x"}), files={str(i): 3})
        PARTS.append(weakref.ref(array))
    del array
    found = concatenated(read)
    np.testing.assert_array_equal(found.arrays["x"], np.repeat([0.0, 1.0, 2.0, 3.0], 6).reshape(12, 2))
    assert found.arrays["x"].dtype == np.float64
    np.testing.assert_array_equal(found.written["x"].codes, np.arange(24).reshape(12, 2))
    assert len(found.written["x"].texts()) == 24
    assert ALIVE[-1] == 1
    assert not any(each() is not None for each in PARTS)


PICTURES = {f"{name}/{i}.png": encoded(noise(seed=i)) for i, name in enumerate(("cat", "dog", "cat", "dog"))}
IMAGES: dict[str, Any] = {
    "inputs": {"image": {"kind": "image", "size": [6, 8]}},
    "targets": {"label": {"kind": "class", "classes": ["cat", "dog"]}},
    "weights": {},
    "splits": {"fractions": {"train": 1.0}},
}


def picture_files(folder: Path, kind: str) -> list[DataFile]:
    found = []
    for name in ("one", "two"):
        chosen = {path: file for path, file in PICTURES.items() if (path in list(PICTURES)[:2]) == (name == "one")}
        if kind == "images":
            zipped(folder / name, chosen)
        else:
            rows = {"image": list(chosen.values()), "label": [path.partition("/")[0] for path in chosen]}
            pa.parquet.write_table(pa.table(rows), folder / name)
        found.append(DataFile(name=name, path=str(folder / name)))
    return found


@pytest.mark.parametrize("kind", ["images", "parquet"])
def test_images_in_several_files_follow_each_other(kind: str, tmp_path: Path) -> None:
    found = read_dataset(picture_files(tmp_path, kind), manifest(kind, **IMAGES))
    expected = torch.stack([torch.from_numpy(noise(seed=i)).movedim(-1, 0) for i in range(4)])
    assert torch.equal(found.inputs["image"], expected)
    assert found.targets["label"].values.tolist() == [0, 1, 0, 1]


def test_an_image_that_cannot_be_read_is_named_with_its_file(tmp_path: Path) -> None:
    files = picture_files(tmp_path, "images")
    zipped(Path(files[1].path), {"cat/2.png": b"\x89PNG\r\n\x1a\nnothing"})
    with pytest.raises(UserError) as caught:
        read_dataset(files, manifest("images", **IMAGES))
    assert "cat/2.png of two" in caught.value.message


def test_files_that_are_read_no_more_are_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[_Files] = []
    begin = _Files.__init__

    def noted(self: _Files, name: str, path: Path, column: str, *, optional: bool) -> None:
        made.append(self)
        begin(self, name, path, column, optional=optional)

    monkeypatch.setattr(_Files, "__init__", noted)
    images = read_columns(picture_files(tmp_path, "parquet"), "parquet", {"image"}, encoded={"image"}).encoded["image"]
    images.load(range(2))
    assert [len(each._window) for each in made] == [1, 0]
    images.load(range(2, 4))
    assert [len(each._window) for each in made] == [0, 1]
    assert images.read(3) == PICTURES["dog/3.png"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({1: {"a": ["high"]}}, "files_differ", ("`a`", "text", "numbers", "`part-0`", "`part-1`")),
        ({2: {"extra": [0.0] * 13}}, "files_differ", ("`extra`", "`part-2`")),
        ({2: {"y": [0] * 9 + [7] + [0] * 3}}, "label_out_of_range", ("row 16 of all", "row 9 of the file `part-2`")),
        ({1: {"w": [-1.0]}}, "wrong_weight", ("row 6 of all", "row 0 of the file `part-1`")),
    ],
    ids=["type", "extra", "label", "weight"],
)
def test_an_error_names_the_file_and_the_row_in_it(
    kind: str, changes: dict[int, Rows], code: str, named: tuple[str, ...], tmp_path: Path
) -> None:
    if kind == "jsonl" and "extra" in changes.get(2, {}):
        return  # whose rows need not have all fields
    with pytest.raises(UserError) as caught:
        read_dataset(parts_of(tmp_path, kind, content(), changes), manifest(kind, **WITHOUT_TEXT))
    assert caught.value.code == code, caught.value.message
    assert all(each in caught.value.message for each in named), caught.value.message
    assert str(caught.value) == caught.value.message


@pytest.mark.parametrize("kind", FORMATS)
def test_a_column_that_one_file_lacks_is_named_with_the_file(kind: str, tmp_path: Path) -> None:
    files = parts_of(tmp_path, kind, content())
    write(Path(files[1].path), kind, {name: values[:3] for name, values in content().items() if name != "v"})
    with pytest.raises(UserError) as caught:
        read_dataset(files, manifest(kind, **WITHOUT_TEXT))
    assert caught.value.code == "missing_column"
    assert caught.value.message.startswith("in the file `part-1`: ")
    assert "no `v`" in caught.value.message


def test_a_row_that_has_another_shape_in_one_file_is_refused(tmp_path: Path) -> None:
    files = []
    for name, width in (("one", 3), ("two", 4)):
        write(tmp_path / name, "npz", {"x": np.zeros((5, width)).tolist(), "y": [0] * 5})
        files.append(DataFile(name=name, path=str(tmp_path / name)))
    with pytest.raises(UserError) as caught:
        read_columns(files, "npz", {"x", "y"})
    assert caught.value.code == "files_differ"
    assert all(each in caught.value.message for each in ("`x`", "[3]", "[4] a row in `two`"))


def test_splits_by_files_are_told(tmp_path: Path) -> None:
    splits = dict(zip(NAMES, ("test", "validation", "train"), strict=True))
    described = manifest("csv", **WITHOUT_TEXT, splits={"files": splits})
    found = read_dataset(parts_of(tmp_path, "csv", content()), described)
    assert {name: rows.tolist() for name, rows in found.splits.items()} == {
        "train": list(range(7, 20)),
        "validation": [6],
        "test": list(range(6)),
    }
    assert "splits_by_name" not in {each.code for each in facts_of(found, described).warnings}
    renamed = [file.model_copy(update={"name": f"{split}.csv"}) for file, split in zip(
        parts_of(tmp_path, "csv", content()), splits.values(), strict=True
    )]  # fmt: skip
    described = manifest("csv", **WITHOUT_TEXT, splits={"files": {f"{split}.csv": split for split in splits.values()}})
    (told,) = [
        each for each in facts_of(read_dataset(renamed, described), described).warnings if each.code == "splits_by_name"
    ]
    assert all(each in told.message for each in ("train `train.csv` (13 rows)", "test `test.csv` (6 rows)"))


def test_splits_of_other_files_are_refused(tmp_path: Path) -> None:
    described = manifest("csv", **WITHOUT_TEXT, splits={"files": {"part-0": "train", "part-1": "test"}})
    with pytest.raises(UserError) as caught:
        read_dataset(parts_of(tmp_path, "csv", content()), described)
    assert caught.value.code == "bad_split"
    assert "`part-2`" in caught.value.message


def test_every_row_has_a_place_and_every_range_its_parts() -> None:
    places = Places.of({"a": 3, "b": 1, "c": 4})
    rows = [(file, row) for file, count in enumerate((3, 1, 4)) for row in range(count)]
    assert [places.find(row) for row in range(8)] == rows
    for start in range(9):
        for stop in range(start, 9):
            parts = places.parts(range(start, stop))
            assert [(file, row) for file, part in parts for row in part] == rows[start:stop]
