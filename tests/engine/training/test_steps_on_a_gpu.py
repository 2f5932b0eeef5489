"""With a CUDA device: steps do not wait for it, rows live on it, and images may be channels-last in bfloat16."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.harness import TEACHER, EngineHarness, report_of
from workers.engine.training.loop import Loop

pytestmark = pytest.mark.gpu
DEVICE = "cuda:0"
TASK: dict[str, Any] = {
    "inputs": {"x": {"kind": "array"}},
    "targets": {"label": {"kind": "class", "classes": 3}},
}
CONVNET: dict[str, Any] = {"family": "convnet", "channels": [8, 16]}


def images(rows: int = 600) -> dict[str, Any]:
    random = np.random.default_rng(0)
    label = random.integers(0, 3, rows)
    x = random.normal(size=(rows, 3, 16, 16)).astype(np.float32) + label[:, None, None, None].astype(np.float32)
    return {"x": x, "label": label}


def distilled(harness: EngineHarness, job: str, **training: Any) -> dict[str, Any]:
    harness.dataset(images(), **TASK)
    settings = {"epochs": 3, "batch_size": 32, "learning_rate": 0.01, **training}
    teaching = {"kind": "train", "target": "label", "model": CONVNET, "training": settings}
    taught = harness.run(teaching, f"{job}-teacher", device=DEVICE)
    harness.teacher(taught, harness.folder / f"{job}-teacher" / "attempt-1")
    spec = {"kind": "distill", "target": "label", "teachers": [{"model": TEACHER}], "student": CONVNET}
    report = report_of(harness.run({**spec, "training": settings}, job, device=DEVICE))
    return dict(report.model_dump(mode="json"))


def test_a_step_never_waits_for_the_device(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch raises at every call that would wait, in steps after the first, whose kernels are loaded."""
    train_step = Loop._train_step
    steps: list[int] = []

    def watched(loop: Loop, *given: Any) -> None:
        torch.cuda.set_sync_debug_mode("error" if steps else "default")
        try:
            train_step(loop, *given)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        steps.append(loop.step)

    monkeypatch.setattr(Loop, "_train_step", watched)
    distilled(harness, "job")
    assert len(steps) > 20


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_students_learn_in_every_order_and_precision(
    harness: EngineHarness, memory_format: str, precision: str
) -> None:
    found = distilled(harness, "job", memory_format=memory_format, precision=precision)
    assert found["student"]["tasks"]["label"]["accuracy"] > 0.9
    assert found["environment"]["precision"] == precision


def test_rows_are_on_the_device(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    places: set[str] = set()
    train_step = Loop._train_step

    def watched(loop: Loop, *given: Any) -> None:
        assert isinstance(loop.inputs.column.values, torch.Tensor)
        places.add(str(loop.inputs.column.values.device))
        train_step(loop, *given)

    monkeypatch.setattr(Loop, "_train_step", watched)
    distilled(harness, "job")
    assert places == {DEVICE}
