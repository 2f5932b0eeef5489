"""Decoded images are kept on a disk and mapped: made once for each size and file, by one process at a time."""

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from app.contracts.problems import UserError
from app.contracts.resources.inputs.images import ImageInput
from tests.engine.data.formats.images.archives import Pixels, encoded, manifest, noise, zipped
from workers.engine.common.files import sha256_of
from workers.engine.common.row_storage import RowStorage
from workers.engine.data.dataset import Dataset
from workers.engine.data.formats.files import decoded as files
from workers.engine.data.formats.images import decode
from workers.engine.data.formats.images import pixels as reading
from workers.engine.data.reading import read_dataset

ROOT = Path(__file__).parents[5]
COUNT, SIZE = 12, 6 * 8 * 3
ROOM = 2 * COUNT * SIZE + 4096
Decoded = list[str]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """The images that are decoded."""
    seen: Decoded = []

    def counted(name: str, encoded: bytes, spec: ImageInput) -> Pixels:
        seen.append(name)
        return decode.pixels(name, encoded, spec)

    monkeypatch.setattr(reading, "pixels", counted)
    return seen


def archive(folder: Path, first: int = 0) -> Path:
    files = {f"{'cat' if i % 2 else 'dog'}/{i}.png": encoded(noise(seed=first + i)) for i in range(COUNT)}
    return zipped(folder / f"{first}.zip", files)


def stored(path: Path, folder: Path, limit: int = ROOM, **changes: Any) -> Dataset:
    storage = RowStorage(sha256_of(path), folder / "shared", folder / "own", limit)
    return read_dataset(path, manifest(**changes), kept=3, storage=storage)


def entries(folder: Path) -> set[str]:
    return {path.name for path in (folder / "images").iterdir() if path.is_dir()}


def image(**changes: object) -> dict[str, Any]:
    return {"inputs": {"image": {"kind": "image", "size": (6, 8), **changes}}}


def test_a_second_read_decodes_nothing_and_gives_the_same_bits(tmp_path: Path, names: Decoded) -> None:
    path = archive(tmp_path)
    in_memory = read_dataset(path, manifest(), kept=3)
    assert len(names) == COUNT
    for _ in range(2):
        found = stored(path, tmp_path)
        assert torch.equal(found.inputs["image"], in_memory.inputs["image"])
        assert found.inputs["image"].is_contiguous()
        assert found.transforms == in_memory.transforms
        assert found.uploaded is not None
        assert in_memory.uploaded is not None
        assert found.uploaded.inputs["image"].form == in_memory.uploaded.inputs["image"].form
        np.testing.assert_array_equal(found.uploaded.inputs["image"].sample, in_memory.uploaded.inputs["image"].sample)
    assert len(names) == 2 * COUNT


@pytest.mark.parametrize("changes", [{"size": (8, 6)}, {"fit": "pad"}, {"channels": 1}], ids=str)
def test_another_size_fit_or_number_of_channels_is_another_entry(
    changes: dict[str, object], tmp_path: Path, names: Decoded
) -> None:
    path = archive(tmp_path)
    stored(path, tmp_path)
    found = stored(path, tmp_path, **image(**changes))
    assert torch.equal(found.inputs["image"], read_dataset(path, manifest(**image(**changes))).inputs["image"])
    assert len(names) == 3 * COUNT
    assert len(entries(tmp_path / "shared")) == 2


def test_another_file_or_version_of_the_decoder_is_another_entry(
    tmp_path: Path, names: Decoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = archive(tmp_path), archive(tmp_path, 100)
    assert not torch.equal(stored(one, tmp_path).inputs["image"], stored(other, tmp_path).inputs["image"])
    monkeypatch.setattr(PIL, "__version__", "0")
    stored(one, tmp_path)
    assert len(names) == 3 * COUNT


@pytest.mark.parametrize("harm", ["a flipped byte", "a short file", "no manifest", "half written"])
def test_a_damaged_entry_is_decoded_again(harm: str, tmp_path: Path, names: Decoded) -> None:
    path = archive(tmp_path)
    expected = stored(path, tmp_path).inputs["image"].clone()
    (file,) = (tmp_path / "shared" / "images").glob("*/images")
    content = bytearray(file.read_bytes())
    if harm == "a flipped byte":
        content[5] ^= 1
    file.write_bytes(content[:-1] if harm in ("a short file", "half written") else content)
    if harm in ("no manifest", "half written"):
        (file.parent / "manifest.json").unlink()
    if harm == "half written":
        file.parent.rename(file.parent.with_name(f".draft-{file.parent.name}"))
    assert torch.equal(stored(path, tmp_path).inputs["image"], expected)
    assert len(names) == 2 * COUNT
    assert len(entries(tmp_path / "shared")) == 1


def test_an_image_that_cannot_be_decoded_leaves_no_entry(tmp_path: Path) -> None:
    files = {f"{i}.png": encoded(noise(seed=i)) for i in range(COUNT)}
    files["7.png"] = files["7.png"][:-30]
    path = zipped(tmp_path / "a.zip", files)
    with pytest.raises(UserError) as caught:
        stored(path, tmp_path, targets={})
    assert caught.value.code == "broken_image"
    assert entries(tmp_path / "shared") == set()


def test_rows_in_use_are_never_evicted_and_are_let_go_of_with_their_tensor(tmp_path: Path) -> None:
    limit = COUNT * SIZE
    held = stored(archive(tmp_path), tmp_path, limit)
    (mine,) = entries(tmp_path / "shared")
    stored(archive(tmp_path, 100), tmp_path, limit)
    gc.collect()
    assert mine in entries(tmp_path / "shared")
    del held
    gc.collect()
    stored(archive(tmp_path, 200), tmp_path, limit)
    assert len(entries(tmp_path / "shared")) == 1
    assert mine not in entries(tmp_path / "shared")


def test_rows_beyond_the_limit_of_the_cache_are_kept_by_the_job(tmp_path: Path, names: Decoded) -> None:
    path = archive(tmp_path)
    for _ in range(2):
        stored(path, tmp_path, COUNT * SIZE - 1)
    assert len(entries(tmp_path / "own")) == 1
    assert not (tmp_path / "shared").exists()
    assert len(names) == COUNT


@pytest.mark.parametrize("block", [1, 5 * SIZE])
def test_blocks_and_windows_of_any_size_give_the_same_rows(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path)
    expected = read_dataset(path, manifest()).inputs["image"]
    monkeypatch.setattr(files, "_MOST_BLOCK_BYTES", block)
    monkeypatch.setattr(files, "_LOADED", 2)
    assert torch.equal(stored(path, tmp_path).inputs["image"], expected)
    images = [encoded(noise(seed=i)) for i in sorted(range(COUNT), key=lambda i: (i % 2, str(i)))]
    labels = COUNT // 2 * ["cat"] + COUNT // 2 * ["dog"]
    pa.parquet.write_table(pa.table({"image": images, "label": labels}), tmp_path / "a.parquet", row_group_size=7)
    monkeypatch.setattr("workers.engine.data.formats.arrow_files._BATCH", 3)
    two = {"other": {"kind": "image", "size": (6, 8)}, "image": {"kind": "image", "size": (6, 8), "fit": "pad"}}
    for each in two.values():
        each["column"] = "image"
    found = read_dataset(tmp_path / "a.parquet", manifest(format="parquet", inputs=two))
    order = [int(Path(name).stem) for name in sorted(f"{'cat' if i % 2 else 'dog'}/{i}.png" for i in range(COUNT))]
    rows = [sorted(range(COUNT), key=lambda i: (i % 2, str(i))).index(i) for i in order]
    assert torch.equal(found.inputs["other"][rows], expected)
    assert torch.equal(found.inputs["image"][rows], expected)


PROGRAM = """
import sys
from pathlib import Path
from tests.engine.data.formats.images.test_stored import manifest, stored
from workers.engine.data.formats.images import decode, pixels as reading

path, folder, log = map(Path, sys.argv[1:])

def counted(name, encoded, spec):
    with log.open("a") as file:
        file.write(f"{name}\\n")
    return decode.pixels(name, encoded, spec)

reading.pixels = counted
print("ready", flush=True)
sys.stdin.readline()
print(stored(path, folder).inputs["image"].sum().item())
"""


def _started(path: Path, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), str(folder), str(folder / "log")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_decode_once(tmp_path: Path) -> None:
    path = archive(tmp_path)
    started = [_started(path, tmp_path) for _ in range(2)]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    sums = {process.communicate(timeout=60)[0] for process in started}
    assert sums == {f"{read_dataset(path, manifest()).inputs['image'].sum().item()}\n"}
    assert len((tmp_path / "log").read_text().splitlines()) == COUNT
