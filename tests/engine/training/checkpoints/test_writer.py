"""Checkpoints written beside training: of one moment, in order, one at a time, and rarer where they are dear."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from app.contracts.wire.events import CheckpointEvent, ChildEvent, WarningEvent
from workers.engine.training.checkpoints.folder import CheckpointFolder
from workers.engine.training.checkpoints.writer import CheckpointWriter


class SlowFolder(CheckpointFolder):
    """Writes when it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1)
        self.let = threading.Event()
        self.writers = self.most = 0

    def save(self, step: int, tensors: dict[str, torch.Tensor], state: str) -> tuple[str, str]:
        self.writers += 1
        self.most = max(self.most, self.writers)
        assert self.let.wait(20)
        self.writers -= 1
        return super().save(step, tensors, state)


def begin(saving: CheckpointWriter, step: int, tensors: dict[str, torch.Tensor]) -> None:
    saving.begin(step, 100 + step, "stage/", tensors, {"step": step}, time.monotonic())


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    """What it changes meanwhile is not in the checkpoint, which is reported when it is complete."""
    folder, events = SlowFolder(tmp_path), list[ChildEvent]()
    saving, weights = CheckpointWriter(folder, events.append), torch.zeros(1000)
    begin(saving, 1, {"weights": weights})
    weights += 1.0
    saving.poll()
    assert not saving.idle
    assert not events
    folder.let.set()
    saving.close()
    (event,) = events
    assert isinstance(event, CheckpointEvent)
    assert (event.step, event.name) == (101, "stage/step-00000001-a1")
    found = CheckpointFolder(tmp_path, 2).load()
    assert found is not None
    assert found.tensors["weights"].tolist() == [0.0] * 1000


def test_there_is_one_writer_and_checkpoints_are_reported_in_order(tmp_path: Path) -> None:
    folder, events = SlowFolder(tmp_path), list[Any]()
    folder.let.set()
    saving = CheckpointWriter(folder, events.append)
    for step in range(1, 6):
        begin(saving, step, {"weights": torch.full((10,), float(step))})
    saving.close()
    assert [event.step for event in events] == [101, 102, 103, 104, 105]
    assert folder.most == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004-a1", "step-00000005-a1"]
    assert saving.cost > 0.0


def test_one_that_cannot_be_written_is_reported_once_and_the_last_good_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = list[ChildEvent]()
    saving = CheckpointWriter(CheckpointFolder(tmp_path, 1), events.append)
    begin(saving, 1, {"weights": torch.zeros(1)})
    saving.finish()
    monkeypatch.setattr("workers.engine.training.checkpoints.folder.save_tensors", _no_room)
    for step in (2, 3):
        begin(saving, step, {"weights": torch.ones(1)})
    saving.finish()
    monkeypatch.undo()
    begin(saving, 4, {"weights": torch.ones(1)})
    saving.close()
    emitted = [event.code if isinstance(event, WarningEvent) else getattr(event, "step", None) for event in events]
    assert emitted == [101, "checkpoint_failed", 104]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001-a1", "step-00000004-a1"]


def _no_room(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_expensive_checkpoints_are_rarer_and_one_that_stalled_does_not_delay_the_next_for_long(tmp_path: Path) -> None:
    saving = CheckpointWriter(CheckpointFolder(tmp_path, 1), lambda event: None)
    assert saving.interval(0.1) == 0.1
    saving.cost = 0.3
    assert saving.interval(0.1) == pytest.approx(10.0)
    assert saving.interval(30.0) == 30.0
    saving.cost = 100.0  # for SHARE of the time it would be an hour
    assert (saving.interval(0.1), saving.interval(30.0)) == (60.0, 300.0)
    saving.close()
