"""In whole jobs: every balancer's state is in the checkpoint, under its own name."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.balancing.small_network import METHODS
from tests.engine.harness import EngineHarness, blobs, report_of
from tests.engine.jobs.interrupted_jobs import BATCHES, MULTITASK, TRAINING, interrupted, points, stop, whole
from tests.exhaustive import sample
from workers.engine.balancing.learned import Famo
from workers.engine.training.checkpoints.folder import CheckpointFolder

SETTINGS: dict[str, dict[str, Any]] = {"nash_mtl": {"every": 3}}
STATE: dict[str, set[str]] = {
    "uncertainty": {"value", "mean", "square", "steps"},
    "imtl_l": {"value", "mean", "square", "steps"},
    "famo": {"value", "mean", "square", "steps"},
    "dwa": {"sums", "batches", "last", "before_last"},
    "gradvac": {"0/cosines"},
    "gradnorm": {"0/value", "0/mean", "0/square", "0/steps", "0/first"},
    "db_mtl": {"0/average", "0/seen"},
    "nash_mtl": {"0/solution", "0/solved", "0/age"},
}
"""All others have no state."""
WITH_STATE = tuple(method for method in METHODS if method in STATE)


@pytest.fixture(scope="module")
def partly_labelled(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    """A third of the labels of each task missing, so that some batches of 8 rows are without a task's."""
    harness = EngineHarness(tmp_path_factory.mktemp("partly"))
    arrays = blobs()
    random = np.random.default_rng(5)
    for name, missing in (("label", -1), ("side", -1), ("size", np.nan)):
        arrays[name][random.permutation(240)[:80]] = missing
    arrays["side"][random.permutation(240)[:180]] = -1
    harness.dataset(arrays)
    return harness


def job(method: str, **training: Any) -> dict[str, Any]:
    student = {"family": "mlp", "hidden": [8], "dropout": 0.2}
    balancing = {"method": method, **SETTINGS.get(method, {})}
    return MULTITASK | {"student": student, "balancing": balancing, "training": TRAINING | {"epochs": 4} | training}


@pytest.mark.parametrize("method", sample(METHODS, ["fixed", "pcgrad", *WITH_STATE]))
def test_trap_2_every_balancer_resumes_bit_for_bit(partly_labelled: EngineHarness, method: str) -> None:
    """Stopped in the first, the second and the fourth epoch, with dropout and with labels missing."""
    harness, spec = partly_labelled, job(method, clip_norm=1.0, weight_decay=0.01)
    whole(harness, spec, f"{method}-whole")
    expected = points(harness)
    report = report_of(interrupted(harness, spec, f"{method}-parts", 2, BATCHES + 3, 3 * BATCHES + 1))
    assert report.bit_exact
    assert harness.digest(f"{method}-parts", 4) == harness.digest(f"{method}-whole")
    assert points(harness) == [point for point in expected if point[1] > 3 * BATCHES + 1]


@pytest.mark.parametrize("method", sample(METHODS, ["fixed", "famo", "pcgrad", "gradnorm"]))
def test_trap_2_every_balancer_resumes_bit_for_bit_in_micro_batches_with_r(
    partly_labelled: EngineHarness, method: str
) -> None:
    relation = {"relation": {"matrix": [[2, 1, 1], [0, 1, 1], [1, 0, 3]]}}
    harness, spec, name = partly_labelled, job(method, micro_batch_size=12) | relation, f"{method}-micro"
    whole(harness, spec, f"{name}-whole")
    interrupted(harness, spec, f"{name}-parts", 2 * BATCHES + 2)
    assert harness.digest(f"{name}-parts", 2) == harness.digest(f"{name}-whole")


@pytest.mark.parametrize("method", METHODS)
def test_trap_2_a_checkpoint_has_the_balancer_s_state_by_name(partly_labelled: EngineHarness, method: str) -> None:
    stop(partly_labelled, job(method), f"{method}-state", before=2 * BATCHES + 1)
    found = CheckpointFolder(partly_labelled.folder / f"{method}-state" / "checkpoints", 2).load()
    assert found is not None
    start = "student/balancer/"
    saved = {name.removeprefix(start): value for name, value in found.tensors.items() if name.startswith(start)}
    assert set(saved) == STATE.get(method, set())
    moved = [bool(torch.nan_to_num(value).any()) for value in saved.values()]
    assert all(moved)


def test_famo_looks_again_at_the_same_batch_and_moves_neither_masks_nor_statistics(
    partly_labelled: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a learning rate of almost 0 its weights stay equal: the student is that of a job that never looks again."""
    student = {"family": "mlp", "hidden": [8], "dropout": 0.4, "normalization": "batch"}
    spec = job("famo") | {"student": student}
    whole(partly_labelled, spec | {"balancing": {"method": "famo", "learning_rate": 0.5}}, "famo-learned")
    still = spec | {"balancing": {"method": "famo", "learning_rate": 1e-30}}
    whole(partly_labelled, still, "famo-still")
    monkeypatch.setattr(Famo, "needs_losses_after", False)
    whole(partly_labelled, still, "famo-never")
    assert partly_labelled.digest("famo-still") == partly_labelled.digest("famo-never")
    assert partly_labelled.digest("famo-still") != partly_labelled.digest("famo-learned")


@pytest.mark.parametrize("method", sample(METHODS, ["fixed", "famo", "pcgrad", "graddrop"]))
def test_the_same_job_gives_the_same_student_twice_and_another_seed_another(
    partly_labelled: EngineHarness, method: str
) -> None:
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        whole(partly_labelled, job(method, seed=seed, epochs=1), f"{method}-{name}")
    assert partly_labelled.digest(f"{method}-one") == partly_labelled.digest(f"{method}-two")
    assert partly_labelled.digest(f"{method}-one") != partly_labelled.digest(f"{method}-other")
