"""The predictions file: readable by numpy alone, equal bytes for equal predictions, nothing half written."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from workers.engine.evaluation.predictions import PredictionsFile


def write(path: Path, sizes: tuple[int, ...]) -> None:
    """Ten test rows in blocks of the given sizes, one task with three parties."""
    logits = torch.arange(30, dtype=torch.float32).reshape(10, 3)
    rows = torch.arange(10) * 7
    with PredictionsFile(path) as file:
        for r, block in zip(torch.split(rows, list(sizes)), torch.split(logits, list(sizes)), strict=True):
            parties = {"label": r % 3, "teacher": block + 1.0, "student": block, "control": -block}
            file.append("test", r, {"digit": parties})


def test_numpy_reads_every_row_in_order(tmp_path: Path) -> None:
    write(tmp_path / "p.npz", (4, 4, 2))
    with np.load(tmp_path / "p.npz", allow_pickle=False) as found:
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
    write(tmp_path / "a.npz", (10,))
    write(tmp_path / "b.npz", (1, 2, 3, 4))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    with pytest.raises(RuntimeError, match="stopped"), PredictionsFile(path) as file:
        file.append("test", torch.arange(3), {"digit": {"student": torch.zeros(3, 2)}})
        raise RuntimeError("stopped")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_an_earlier_attempt_do_no_harm(tmp_path: Path) -> None:
    leftover = tmp_path / "p.npz.parts"
    leftover.mkdir()
    (leftover / "0").write_bytes(b"half a block")
    write(tmp_path / "p.npz", (10,))
    assert [path.name for path in tmp_path.iterdir()] == ["p.npz"]
    with np.load(tmp_path / "p.npz") as found:
        assert len(found["test/row"]) == 10


def test_blocks_of_another_shape_are_refused(tmp_path: Path) -> None:
    with PredictionsFile(tmp_path / "p.npz") as file:
        file.append("test", torch.arange(3), {"digit": {"student": torch.zeros(3, 2)}})
        with pytest.raises(ValueError, match="expected rows of float32"):
            file.append("test", torch.arange(3), {"digit": {"student": torch.zeros(3, 5)}})
