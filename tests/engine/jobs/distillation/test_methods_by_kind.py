"""Methods on labels and vectors as whole jobs: learned, resumed bit for bit, accumulated exactly."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.harness import TEACHER, Arrays, EngineHarness, StopAtStep, made_once, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING
from tests.exhaustive import sample
from workers.engine.common.stop import Stopped

Json = dict[str, Any]
LABELS: dict[str, Json] = {
    "kd": {"method": "kd"},
    "kd, learned temperature": {"method": "kd", "temperature": {"learned": True}},
    "reverse_kl": {"method": "reverse_kl"},
    "jsd": {"method": "jsd"},
    "logit_mse": {"method": "logit_mse", "weight": 0.2},
}
VECTORS: dict[str, Json] = {
    "mse": {"method": "mse"},
    "huber": {"method": "huber"},
    "teacher_bounded": {"method": "teacher_bounded"},
    "cosine": {"method": "cosine"},
}
KEPT = [("labels", "kd"), ("labels", "jsd"), ("vector", "mse"), ("vector", "cosine")]
CASES = [("labels", name) for name in LABELS] + [("vector", name) for name in VECTORS]


def arrays() -> Arrays:
    """Rows with four yes-or-no labels and a vector of three numbers, both told by the rows, some missing."""
    random = np.random.default_rng(0)
    x = random.normal(size=(240, 6)).astype(np.float32)
    labels = (x @ random.normal(size=(6, 4)) > 0).astype(np.float32)
    labels[random.permutation(240)[:60], 0] = np.nan
    vector = (x @ random.normal(size=(6, 3))).astype(np.float32)
    vector[random.permutation(240)[:60]] = np.nan
    return {"x": x, "labels": labels, "vector": vector}


@made_once
def add_teacher(harness: EngineHarness, target: str) -> None:
    """Such rows, and a teacher of the target."""
    targets = {"labels": {"kind": "multilabel", "size": 4}, "vector": {"kind": "vector", "size": 3}}
    harness.dataset(arrays(), targets=targets)
    spec = {"kind": "train", "target": target, "model": {"family": "mlp", "hidden": [24]}, "training": TRAINING}
    harness.teacher(harness.run(spec, "teacher"), harness.folder / "teacher" / "attempt-1")


def job(target: str, name: str, **changes: Any) -> Json:
    term = (LABELS if target == "labels" else VECTORS)[name]
    return {
        "kind": "distill",
        "target": target,
        "teachers": [{"model": TEACHER}],
        "student": {"family": "mlp", "hidden": [8]},
        "distillation": {"soft_targets": {"weight": 0.9, **term}},
        "training": TRAINING,
        **changes,
    }


@pytest.mark.parametrize(("target", "name"), sample(CASES, [*KEPT, ("labels", "kd, learned temperature")]))
def test_a_job_that_was_interrupted_gives_the_same_student_and_verdict(
    harness: EngineHarness, target: str, name: str
) -> None:
    add_teacher(harness, target)
    whole = report_of(harness.run(job(target, name), "whole"))
    with pytest.raises(Stopped):
        harness.run(job(target, name), "broken", stop=StopAtStep(11))
    broken = report_of(harness.run(job(target, name), "broken", attempt=2))
    assert harness.digest("broken", attempt=2) == harness.digest("whole")
    assert broken.verdict == whole.verdict
    series = harness.log.series(f"train/{target}/{name.partition(',')[0]}")
    assert series
    assert all(value is not None for value in series)


@pytest.mark.parametrize(("target", "name"), sample([case for case in CASES if "learned" not in case[1]], KEPT))
def test_micro_batches_give_the_student_of_whole_batches(harness: EngineHarness, target: str, name: str) -> None:
    add_teacher(harness, target)
    training = {"steps": 4, "batch_size": 30, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.05}
    harness.run(job(target, name, training=training, control=False), "whole")
    harness.run(job(target, name, training={**training, "micro_batch_size": 7}, control=False), "parts")
    whole, parts = harness.weights("whole"), harness.weights("parts")
    for tensor, expected in whole.items():
        torch.testing.assert_close(parts[tensor], expected, rtol=1e-4, atol=2e-6)
