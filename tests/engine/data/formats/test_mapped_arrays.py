"""Large arrays of 8 bits that an npz file has uncompressed are mapped from it: the same rows, checked, not copied."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.contracts.problems import UserError
from tests.engine.harness import EngineHarness
from workers.engine.data.dataset import Dataset
from workers.engine.data.formats import npz
from workers.engine.data.reading import read_dataset

Arrays = dict[str, NDArray[Any]]
ROWS = 60
PIXELS = np.random.default_rng(0).integers(0, 256, (ROWS, 3, 4, 4), np.uint8)
LABELS = PIXELS.reshape(ROWS, -1).mean(1).argsort().argsort() * 2 // ROWS


@pytest.fixture(autouse=True)
def small_arrays_are_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAPPED_BYTES", 1)


def read(harness: EngineHarness) -> Dataset:
    assert harness.data is not None
    return read_dataset(Path(harness.data.path), harness.data.manifest)


def written(harness: EngineHarness, x: NDArray[Any], save: Callable[..., None] = np.savez, **spec: Any) -> Path:
    path = harness.folder / "data.npz"
    save(path, x=x, label=LABELS)
    targets = {"label": {"kind": "class", "classes": 2}}
    harness.file(path, inputs={"x": {"kind": "array", **spec}}, targets=targets)
    return path


def test_the_rows_are_those_of_the_file_and_the_file_is_their_memory(harness: EngineHarness) -> None:
    path = written(harness, PIXELS)
    found = read(harness)
    assert found.inputs["x"].numpy().tolist() == PIXELS.tolist()
    assert found.is_mapped
    content = path.read_bytes()
    place = content.index(PIXELS.tobytes())
    with path.open("r+b") as file:  # a map has what is in the file now, a copy what was
        file.seek(place)
        file.write(bytes([content[place] ^ 255]))
    assert int(found.inputs["x"][0, 0, 0, 0]) == content[place] ^ 255


@pytest.mark.parametrize(
    ("x", "save", "spec"),
    [
        (PIXELS, np.savez_compressed, {}),
        (np.asfortranarray(PIXELS), np.savez, {}),
        (PIXELS.astype(np.float32), np.savez, {}),
        (PIXELS.transpose(0, 2, 3, 1).copy(), np.savez, {"layout": "channels_last"}),
    ],
    ids=["compressed", "in the order of Fortran", "of 32 bits", "channels last"],
)
def test_others_are_read_into_memory(
    x: NDArray[Any], save: Callable[..., None], spec: dict[str, Any], harness: EngineHarness
) -> None:
    written(harness, x, save, **spec)
    found = read(harness)
    assert found.inputs["x"].numpy().tolist() == PIXELS.tolist()
    assert found.inputs["x"].is_contiguous()
    assert not found.is_mapped


@pytest.mark.parametrize("harm", ["a flipped byte", "a shape of more bytes"])
def test_a_damaged_array_is_refused(harm: str, harness: EngineHarness) -> None:
    path = written(harness, PIXELS)
    content = bytearray(path.read_bytes())
    if harm == "a flipped byte":
        content[content.index(PIXELS.tobytes()) + 100] ^= 1
    path.write_bytes(content)
    if harm == "a shape of more bytes":
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, member in members.items():
                archive.writestr(name, member.replace(b"(60, 3", b"(61, 3") if name == "x.npy" else member)
    with pytest.raises(UserError) as caught:
        read(harness)
    assert caught.value.code == "unreadable"


def test_a_student_of_mapped_rows_has_the_bits_of_one_of_rows_in_memory(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(harness, PIXELS)
    spec = {
        "kind": "train",
        "target": "label",
        "model": {"family": "convnet", "channels": [4]},
        "training": {"epochs": 2, "batch_size": 16},
        "exports": [],
    }
    monkeypatch.setattr("workers.engine.data.rows.inputs._PREPARED_BYTES_OF_PIXELS", 0)
    before = read(harness)
    harness.run(spec, "mapped")
    monkeypatch.setattr(npz, "MAPPED_BYTES", 1 << 30)
    assert torch.equal(read(harness).inputs["x"], before.inputs["x"])
    harness.run(spec, "in memory", cache_dir=str(harness.folder / "other"))
    assert harness.digest("mapped") == harness.digest("in memory")
