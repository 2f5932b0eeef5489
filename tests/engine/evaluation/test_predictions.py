"""The predictions files: readable by numpy alone, equal bytes for equal predictions, nothing half written."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from app.contracts.resources.splits import SplitName
from workers.engine.evaluation.predictions import PredictionsFiles

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


def write(folder: Path, sizes: tuple[int, ...]) -> Path:
    """The file of ten test rows in blocks of the given sizes, one task with three parties."""
    logits = torch.arange(30, dtype=torch.float32).reshape(10, 3)
    rows = torch.arange(10) * 7
    with PredictionsFiles(folder) as files:
        for r, block in zip(torch.split(rows, list(sizes)), torch.split(logits, list(sizes)), strict=True):
            parties = {"label": r % 3, "teacher": block + 1.0, "student": block, "control": -block}
            files.append("test", r, {"digit": parties})
    return folder / "predictions-test.npz"


def test_numpy_reads_every_row_in_order(tmp_path: Path) -> None:
    with np.load(write(tmp_path, (4, 4, 2)), allow_pickle=False) as found:
        assert sorted(found) == [
            "test/digit/control",
            "test/digit/label",
            "test/digit/student",
            "test/digit/teacher",
            "test/row",
        ]
        assert found["test/row"].tolist() == [7 * i for i in range(10)]
        assert found["test/row"].dtype == np.int64
        assert found["test/digit/label"].tolist() == [7 * i % 3 for i in range(10)]
        assert found["test/digit/student"].dtype == np.float32
        np.testing.assert_array_equal(found["test/digit/student"], np.arange(30, dtype=np.float32).reshape(10, 3))
        np.testing.assert_array_equal(found["test/digit/teacher"], found["test/digit/student"] + 1.0)


def test_block_sizes_and_times_leave_no_trace_in_the_bytes(tmp_path: Path) -> None:
    one, several = write(tmp_path / "a", (10,)), write(tmp_path / "b", (1, 2, 3, 4))
    assert one.read_bytes() == several.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_each_split_with_rows_has_a_file_of_its_own(tmp_path: Path) -> None:
    with PredictionsFiles(tmp_path) as files:
        for split in (SPLITS[0], SPLITS[2], SPLITS[0]):
            files.append(split, torch.arange(3), {"digit": {"student": torch.zeros(3, 2)}})
        assert files.splits == ("train", "test")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions-test.npz", "predictions-train.npz"]
    for split, rows in (("train", 6), ("test", 3)):
        with np.load(tmp_path / f"predictions-{split}.npz") as found:
            assert {name: len(found[name]) for name in found} == {f"{split}/row": rows, f"{split}/digit/student": rows}


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stopped"), PredictionsFiles(tmp_path) as files:
        for split in SPLITS:
            files.append(split, torch.arange(3), {"digit": {"student": torch.zeros(3, 2)}})
        raise RuntimeError("stopped")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_an_earlier_attempt_do_no_harm(tmp_path: Path) -> None:
    leftover = tmp_path / "predictions.parts"
    leftover.mkdir()
    (leftover / "test-0").write_bytes(b"half a block")
    file = write(tmp_path, (10,))
    assert list(tmp_path.iterdir()) == [file]
    with np.load(file) as found:
        assert len(found["test/row"]) == 10


def test_blocks_of_another_shape_are_refused(tmp_path: Path) -> None:
    with PredictionsFiles(tmp_path) as files:
        files.append("test", torch.arange(3), {"digit": {"student": torch.zeros(3, 2)}})
        with pytest.raises(ValueError, match="expected rows of float32"):
            files.append("test", torch.arange(3), {"digit": {"student": torch.zeros(3, 5)}})
