"""Text that is numbers, booleans or times of day means the same in every format."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from app.contracts.resources.manifests import DatasetManifest
from workers.engine.data.formats.typed_text import typed
from workers.engine.data.reading import read_dataset

COLUMNS = {
    "numbers": (["1", " 2.5", "-3e2", ""], [1.0, 2.5, -300.0, np.nan]),
    "booleans": (["True", "false", "NA", "TRUE"], [1.0, 0.0, np.nan, 1.0]),
    "times": (["12:30:05", "00:00", "01:00:00.5", "23:59:59"], [45005.0, 0.0, 3600.5, 86399.0]),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_text_of_one_kind_becomes_numbers(case: str) -> None:
    texts, numbers = COLUMNS[case]
    np.testing.assert_array_equal(typed(np.array(texts)), numbers)


@pytest.mark.parametrize("texts", [["1", "two"], ["", "NA"], ["1", "true"], ["1.234,5"], ["infinity"], ["1_000"]])
def test_other_text_stays(texts: list[str]) -> None:
    array = np.array(texts)
    assert typed(array) is array


@pytest.mark.parametrize("kind", ["npz", "npz of bytes", "csv", "jsonl", "parquet"])
@pytest.mark.parametrize(("texts", "classes"), [(["0", "1", "1"], 2), (["False", "True", "True"], 2)])
def test_labels_as_text_are_numbers_in_every_format(kind: str, texts: list[str], classes: int, tmp_path: Path) -> None:
    rows = texts * 4
    path, x = tmp_path / "file", np.arange(12.0)
    if kind.startswith("npz"):
        with path.open("wb") as file:
            np.savez(file, x=x, y=np.array(rows, dtype="S5" if kind == "npz of bytes" else None))
    elif kind == "csv":
        path.write_text("x,y\n" + "".join(f"{a},{b}\n" for a, b in zip(x, rows, strict=True)))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"x": a, "y": b}) + "\n" for a, b in zip(x.tolist(), rows, strict=True)))
    else:
        pa.parquet.write_table(pa.table({"x": x, "y": rows}), path)
    manifest = {
        "name": "d",
        "format": kind.partition(" ")[0],
        "inputs": {"x": {"kind": "array"}},
        "targets": {"y": {"kind": "class", "classes": classes}},
    }
    dataset = read_dataset(path, DatasetManifest.model_validate_json(json.dumps(manifest)))
    assert dataset.targets["y"].values.tolist() == [0, 1, 1] * 4
