"""A teacher's passes run on threads of their own, and its outputs are stored by them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine.harness import TEACHER, EngineHarness, blobs, report_of
from workers.engine.common.threads import torch_threads
from workers.engine.teachers.teacher import NetworkTeacher
from workers.engine.training.learner import Learner

TRAIN: dict[str, Any] = {"kind": "train", "target": "label", "model": {"family": "mlp", "hidden": [8]}}
DISTILL: dict[str, Any] = {
    "kind": "distill",
    "target": "label",
    "teachers": [{"model": TEACHER}],
    "student": {"family": "mlp", "hidden": [4]},
    "control": False,
    "distillation": {"allow_chance_teacher": True},
}


def training(**settings: Any) -> dict[str, Any]:
    return {"training": {"steps": 2, "batch_size": 64, **settings}}


def test_its_threads_are_those_of_its_passes_alone(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.dataset(blobs())
    harness.teacher(harness.run({**TRAIN, **training()}, "teacher"), harness.folder / "teacher" / "attempt-1")
    seen: dict[str, set[int]] = {"teacher": set(), "training": set()}
    predict, end_step = NetworkTeacher._predict, Learner.end_step

    def in_teacher(self: NetworkTeacher, raw: Tensor, forward: Any) -> dict[str, Tensor]:
        seen["teacher"].add(torch.get_num_threads())
        return predict(self, raw, forward)

    def in_training(self: Learner, step: int, epoch: int) -> None:
        seen["training"].add(torch.get_num_threads())
        end_step(self, step, epoch)

    monkeypatch.setattr(NetworkTeacher, "_predict", in_teacher)
    monkeypatch.setattr(Learner, "end_step", in_training)
    stores = []
    for job, own in {"same": None, "again": None, "more": 2}.items():
        own_threads = {} if own is None else {"teacher_threads": own}
        seen["teacher"].clear()
        found = harness.run({**DISTILL, **training(threads=1, **own_threads)}, job, threads=1)
        stores.append(report_of(found).targets[0].store)
        assert seen["teacher"] <= {own or 1}
        assert own is None or seen["teacher"] == {own}
        assert seen["training"] == {1}
    assert stores == ["miss", "hit", "miss"], "other threads can give other last bits"


def test_threads_are_set_back_also_after_an_error() -> None:
    with torch_threads(1):
        with pytest.raises(RuntimeError), torch_threads(2):
            assert torch.get_num_threads() == 2
            raise RuntimeError
        assert torch.get_num_threads() == 1
