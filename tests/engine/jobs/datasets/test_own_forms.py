"""A teacher reads the files of a dataset by its own image processor, whatever the dataset makes of them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from app.contracts.wire.orders import TrainingOutcome
from tests.engine.harness import TEACHER, EngineHarness, report_of
from tests.engine.jobs.datasets.photos import as_teacher, folder_of, outside, photos, with_photos

Json = dict[str, Any]
DISTILL: Json = {
    "kind": "distill",
    "teachers": [{"model": TEACHER}],
    "student": {"family": "convnet", "channels": [4]},
    "training": {"epochs": 2, "batch_size": 16},
    "distillation": {"allow_chance_teacher": True},
    "control": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> EngineHarness:
    made = EngineHarness(tmp_path_factory.mktemp("photos"))
    with_photos(made, photos())
    as_teacher(made, folder)
    return made


@pytest.fixture(scope="module")
def distilled(harness: EngineHarness) -> TrainingOutcome:
    return harness.run(DISTILL, job="distilled")


def test_the_metrics_of_a_teacher_are_those_of_transformers_on_the_files(
    distilled: TrainingOutcome, folder: Path
) -> None:
    files = {name: content for name, content in photos().items() if name.startswith("test/")}
    labels = torch.tensor([("cat", "dog", "owl").index(name.split("/")[1]) for name in files])
    logits = outside(folder, files)
    found = report_of(distilled).teachers[0].tasks["label"]
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert found["nll"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), abs=1e-5)
