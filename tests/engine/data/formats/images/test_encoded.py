"""Images that stay encoded: the pixels of decoded ones, in any order, ahead of who takes them, and within bounds."""

import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from torch import Tensor

from app.contracts.problems import UserError
from tests.engine.data.formats.images.archives import encoded, manifest, noise, tarred, zipped
from tests.engine.data.formats.images.test_stored import COUNT, SIZE, Decoded, image, names
from workers.engine.common.files import sha256_of
from workers.engine.common.row_storage import RowStorage
from workers.engine.data.dataset import Dataset
from workers.engine.data.formats.files import encoded as files
from workers.engine.data.formats.files.encoded import EncodedRows
from workers.engine.data.formats.images import pixels as rule
from workers.engine.data.formats.read import read_columns
from workers.engine.data.reading import read_dataset
from workers.engine.data.rows.columns import Rows
from workers.engine.data.rows.inputs import Inputs

__all__ = ["names"]
CONTENTS = {f"{('cat', 'dog')[i % 2]}/{i:02}.png": encoded(noise(9, 11, seed=i)) for i in range(COUNT)}
CPU = torch.device("cpu")


def parquet(path: Path) -> Path:
    columns = {"image": list(CONTENTS.values()), "label": [name[:3] for name in CONTENTS]}
    pa.parquet.write_table(pa.table(columns), path, row_group_size=5)
    return path


UPLOADS: dict[str, Callable[[Path], Path]] = {
    "stored": lambda path: zipped(path, CONTENTS),
    "deflated": lambda path: zipped(path, CONTENTS, zipfile.ZIP_DEFLATED),
    "tar": lambda path: tarred(path, CONTENTS),
    "parquet": parquet,
}


@pytest.fixture(autouse=True)
def no_threads_remain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The rule leaves small images encoded."""
    monkeypatch.setattr(rule, "DECODED_BYTES", 0)
    monkeypatch.setattr(rule, "TIMES", 0.0)
    yield
    assert not _decoding()


def _decoding() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("decode")]


def read(path: Path, folder: Path, stays: bool = True, **changes: Any) -> Dataset:
    return read_dataset(path, manifest(**changes), storage=RowStorage(sha256_of(path), folder, folder, 1 << 30, stays))


def rows_of(folder: Path, **changes: Any) -> EncodedRows:
    found = read(zipped(folder / "a.zip", CONTENTS), folder, **changes).raw
    assert isinstance(found, EncodedRows)
    return found


@pytest.mark.parametrize("upload", UPLOADS)
def test_rows_of_every_upload_are_those_of_the_decoder_in_any_order(upload: str, tmp_path: Path) -> None:
    path = UPLOADS[upload](tmp_path / "upload")
    form = "parquet" if upload == "parquet" else "images"
    decoded, kept = read_dataset(path, manifest(format=form)), read(path, tmp_path, format=form)
    found, expected = kept.raw, decoded.inputs["image"]
    assert isinstance(found, EncodedRows)
    assert (found.shape, found.dtype, found.nbytes) == (tuple(expected.shape), expected.dtype, expected.nbytes)
    for rows in (torch.arange(COUNT), torch.tensor([7, 0, 7, COUNT - 1]), torch.empty(0, dtype=torch.int64)):
        assert torch.equal(found[rows], expected[rows])
    assert torch.equal(found[2:9:3], expected[2:9:3])
    assert kept.transforms == decoded.transforms


@pytest.mark.parametrize(("size", "fit"), [((8, 6), "stretch"), ((6, 8), "pad"), ((6, 8), "crop")])
def test_one_copy_of_the_files_serves_every_size_and_fit(size: tuple[int, int], fit: str, tmp_path: Path) -> None:
    rows_of(tmp_path)
    changes: dict[str, Any] = image(size=size, fit=fit)
    found = rows_of(tmp_path, **changes)
    assert torch.equal(found[:], read_dataset(tmp_path / "a.zip", manifest(**changes)).inputs["image"])
    total = sum(map(len, CONTENTS.values()))
    assert [path.stat().st_size for path in (tmp_path / "images").glob("*/images")].count(total) == 1


def test_a_second_job_decodes_nothing_before_its_steps(tmp_path: Path, names: Decoded) -> None:
    """What it must know of all training rows, mean and deviation, is kept with them."""
    changes: dict[str, Any] = image()
    first = read(zipped(tmp_path / "a.zip", CONTENTS), tmp_path, **changes)
    assert names
    names.clear()
    second = read(tmp_path / "a.zip", tmp_path, **changes)
    assert not names
    assert second.transforms == first.transforms


@pytest.mark.parametrize(
    ("least", "times", "stays", "expected"),
    [(0, 0.9, True, True), (0, 1.1, True, False), (COUNT * SIZE, 0.0, True, False), (0, 0.0, False, False)],
    ids=["encoded", "images as large as their rows", "few rows", "an inspection"],
)
def test_rows_stay_encoded_where_they_are_many_and_would_grow(
    least: int, times: float, stays: bool, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`times`: relative to how many times larger the decoded rows are."""
    monkeypatch.setattr(rule, "DECODED_BYTES", least)
    monkeypatch.setattr(rule, "TIMES", times * COUNT * SIZE / sum(map(len, CONTENTS.values())))
    found = read(zipped(tmp_path / "a.zip", CONTENTS), tmp_path, stays)
    assert bool(found.encoded) is expected
    assert found.is_mapped


@pytest.mark.parametrize(("rows", "bytes_"), [(6, 1 << 30), (1 << 30, 6 * SIZE)], ids=["rows", "bytes"])
def test_no_more_is_decoded_ahead_than_the_bounds_and_one_part(
    rows: int, bytes_: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "AHEAD_ROWS", rows)
    monkeypatch.setattr(files, "AHEAD_BYTES", bytes_)
    found, asked = rows_of(tmp_path), []

    def parts() -> Iterator[Tensor]:
        for number in range(20):
            asked.append(number)
            yield torch.full((4,), number % COUNT)

    ahead = found.ahead(parts())
    for taken in range(5):
        next(ahead)
        assert len(asked) == taken + 3, "the part taken, and eight rows: six and what completes a part"
    ahead.close()
    assert not _decoding()


def test_the_first_row_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    broken = {
        name: content[: -30 if i in (4, 9) else None] for i, (name, content) in enumerate(sorted(CONTENTS.items()))
    }
    raw = read(zipped(tmp_path / "a.zip", broken), tmp_path, inputs=_plain()).raw
    with pytest.raises(UserError) as caught:
        raw[torch.tensor([3, 9, 4])]
    assert caught.value.code == "broken_image"
    assert f"`{sorted(CONTENTS)[9]}`" in caught.value.message


def _plain() -> dict[str, Any]:
    """No passes over all rows at reading."""
    return {"image": {"kind": "image", "size": (6, 8), "standardize": False}}


def test_rows_taken_in_another_order_than_announced_are_refused(tmp_path: Path) -> None:
    inputs = Inputs.prepare(rows_of(tmp_path), read(tmp_path / "a.zip", tmp_path).transforms["image"], CPU)
    ahead = inputs.ahead([torch.tensor([1, 2]), torch.tensor([3, 4])])
    assert torch.equal(ahead.take(Rows.on(CPU, torch.tensor([1, 2]))), inputs.take(Rows.on(CPU, torch.tensor([1, 2]))))
    with pytest.raises(RuntimeError, match="another order"):
        ahead.take(Rows.on(CPU, torch.tensor([4, 3])))
    ahead.close()
    assert ahead.waited > 0.0


def test_as_many_threads_decode_as_torch_computes_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_ROWS", 1)
    before = torch.get_num_threads()
    found = rows_of(tmp_path)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ahead = found.ahead([torch.arange(COUNT)] * 3)
        next(ahead)
        assert len(_decoding()) == threads
        ahead.close()
    torch.set_num_threads(before)


def test_files_that_were_read_from_parquet_are_let_go_of(tmp_path: Path) -> None:
    """Trap: by default Arrow keeps what it has read of every row group, in the end the whole file."""
    size, count = 10_000, 512
    few = [encoded(noise(1, 1)) + bytes([i]) * size for i in range(4)]
    columns = {"image": [few[i % 4] for i in range(count)]}
    pa.parquet.write_table(
        pa.table(columns), tmp_path / "a.parquet", row_group_size=64, compression="none", use_dictionary=False
    )
    images = read_columns(tmp_path / "a.parquet", "parquet", {"image"}, encoded={"image"}).encoded["image"]
    before, held = pa.total_allocated_bytes(), []
    for row in range(count - 1):
        images.load(range(row, row + 1))
        assert images.read(row) == few[row % 4]
        held.append(pa.total_allocated_bytes() - before)
    assert max(held) < count * size / 2
