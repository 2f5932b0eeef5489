"""Traps of multi-task training in whole jobs on data with labels missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from app.contracts.base import members, method_of
from app.contracts.problems import UserError
from app.contracts.specs.architectures import architecture_of
from app.contracts.specs.balancing import Balancing
from app.contracts.specs.jobs import MultitaskJob
from app.contracts.wire.events import ProgressEvent
from tests.engine.balancing.small_network import GRADIENT_METHODS, METHODS
from tests.engine.harness import TEACHER, Arrays, EngineHarness, blobs, report_of
from tests.engine.jobs.interrupted_jobs import harness_with_teachers
from tests.engine.jobs.preflight.test_preflight import preflight
from tests.exhaustive import sample
from workers.engine.balancing import make
from workers.engine.balancing.aggregators import solved
from workers.engine.data.reading import read_dataset
from workers.engine.data.rows.order import epoch_order
from workers.engine.data.transform import apply
from workers.engine.models import build, initialise

BATCH = 32
TRAINING: dict[str, Any] = {"epochs": 1, "batch_size": BATCH, "learning_rate": 0.05, "select_by": "last"}
MULTITASK: dict[str, Any] = {
    "kind": "multitask",
    "tasks": [{"name": "label"}, {"name": "size"}, {"name": "side"}],
    "student": {"family": "mlp", "hidden": [8]},
    "training": TRAINING,
}
MATRIX = [[2, 1, 1], [1, 1, 0], [1, 1, 2]]
OPTIMIZERS = ["sgd", "adam", "adamw"]
EACH = [(method, "adamw") for method in METHODS] + [(m, o) for m in ("fixed", "famo", "pcgrad") for o in OPTIMIZERS[:2]]
"""Every balancer under one optimiser, and one of each sort under all."""
SORTS = ("fixed", "famo", "pcgrad", "gradnorm")
"""Constant weights, learned weights, an aggregator without and a method with a state of its own."""
KEPT = [("fixed", "sgd"), ("famo", "adam"), ("pcgrad", "sgd"), *[(method, "adamw") for method in SORTS]]


def training_rows(harness: EngineHarness) -> Tensor:
    """The rows of the training split in the order of the first epoch under seed 0."""
    assert harness.data is not None
    dataset = read_dataset(Path(harness.data.path), harness.data.manifest)
    return epoch_order(dataset.splits["train"], 0, 0)


def with_a_late_task(harness: EngineHarness) -> int:
    """Data whose `side` is labelled, of the training split, in the last batch alone; the number of batches."""
    harness.dataset()
    order = training_rows(harness)
    arrays = blobs()
    arrays["side"][order[: -(len(order) % BATCH)].numpy()] = -1
    harness.dataset(arrays)
    return len(order) // BATCH + 1


def initial(harness: EngineHarness, spec: dict[str, Any]) -> dict[str, Tensor]:
    """The student's weights before the first step."""
    parsed = harness.order(spec, "initial").spec
    assert isinstance(parsed, MultitaskJob)
    network = build(architecture_of(parsed.student))
    initialise(network, 0)
    return network.state_dict()


@pytest.mark.parametrize(("method", "optimizer"), sample(EACH, KEPT))
def test_trap_1_while_a_task_is_absent_its_head_rests_and_the_others_learn_as_in_a_job_without_it(
    harness: EngineHarness, method: str, optimizer: str
) -> None:
    """Weight decay and momentum would move a head whose gradient is 0 instead of none."""
    batches = with_a_late_task(harness)
    training = {**TRAINING, "epochs": None, "steps": batches - 1, "optimizer": optimizer, "weight_decay": 0.1}
    spec = {**MULTITASK, "balancing": {"method": method}, "training": training}
    pair = {**spec, "tasks": MULTITASK["tasks"][:2]}
    harness.run(spec | {"relation": {"matrix": MATRIX}}, "three")
    harness.run(pair | {"relation": {"matrix": [row[:2] for row in MATRIX[:2]]}}, "two")
    three, two, before = harness.weights("three"), harness.weights("two"), initial(harness, spec)
    assert {name for name in three if name not in two} == {"heads.side.weight", "heads.side.bias"}
    assert all(torch.equal(three[name], two[name]) for name in two)
    assert all(torch.equal(three[name], before[name]) for name in three if "side" in name)
    assert not torch.equal(three["layers.0.weight"], before["layers.0.weight"])


@pytest.mark.parametrize("method", ["fixed", "pcgrad"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_trap_1_a_task_that_comes_late_takes_the_first_step_of_its_own(
    harness: EngineHarness, optimizer: str, method: str
) -> None:
    """The fused kernel of sgd takes a momentum from all parameters or from none."""
    batches = with_a_late_task(harness)
    spec = {**MULTITASK, "balancing": {"method": method}, "training": {**TRAINING, "optimizer": optimizer}}
    harness.run(spec, "all")
    before, after = initial(harness, spec), harness.weights("all")
    moved = (after["heads.side.bias"] - before["heads.side.bias"]).abs()
    if optimizer != "sgd":
        torch.testing.assert_close(moved, torch.full((2,), 0.05), rtol=1e-4, atol=1e-5)
        return
    steps = {**TRAINING, "epochs": None, "steps": batches - 1, "optimizer": "sgd"}
    harness.run({**spec, "training": steps}, "before")
    gradient = side_gradient(harness, harness.weights("before"))
    torch.testing.assert_close(after["heads.side.bias"] - before["heads.side.bias"], -0.05 * gradient)


@pytest.mark.parametrize("method", ["fixed", "pcgrad"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_trap_1_a_task_that_is_absent_again_rests_again(harness: EngineHarness, optimizer: str, method: str) -> None:
    """A gradient left from the step before, or 0 instead of none, would move its head."""
    harness.dataset()
    arrays = blobs()
    arrays["side"][training_rows(harness)[BATCH:].numpy()] = -1
    harness.dataset(arrays)
    for steps in (1, 3):
        training = {**TRAINING, "epochs": None, "steps": steps, "optimizer": optimizer, "weight_decay": 0.1}
        harness.run({**MULTITASK, "balancing": {"method": method}, "training": training}, f"{steps}")
    first, third = harness.weights("1"), harness.weights("3")
    assert all(torch.equal(first[name], third[name]) for name in first if "side" in name)
    assert not any(torch.equal(first[name], third[name]) for name in first if "side" not in name)


def side_gradient(harness: EngineHarness, weights: dict[str, Tensor]) -> Tensor:
    """Of the cross-entropy of `side` over the last batch, on its head's bias: mean of softmax minus one-hot."""
    assert harness.data is not None
    dataset = read_dataset(Path(harness.data.path), harness.data.manifest)
    order = training_rows(harness)
    last = order[-(len(order) % BATCH) :]
    x = apply(dataset.inputs["x"][last], dataset.transforms["x"])
    h = (x @ weights["layers.0.weight"].T + weights["layers.0.bias"]).relu()
    p = (h @ weights["heads.side.weight"].T + weights["heads.side.bias"]).softmax(1)
    labels = dataset.targets["side"].values[last]
    return (p - torch.nn.functional.one_hot(labels, 2)).mean(0)


PARTS = [(m, 5) for m in METHODS] + [(m, n) for m in ("fixed", "famo", "pcgrad") for n in (1, 31)]


def rescaled(arrays: Arrays) -> Arrays:
    return arrays | {"size": (arrays["size"].astype(np.float64) * 1000.0 - 250_000.0).astype(np.float32)}


def in_own_units(harness: EngineHarness, job: str) -> np.ndarray[Any, Any]:
    return np.asarray(np.load(harness.outputs(job) / "predictions-test.npz")["test/size/student"], dtype=np.float64)


@pytest.mark.parametrize("method", sample(METHODS, SORTS))
def test_trap_6_a_value_target_a_thousand_times_larger_and_shifted_teaches_the_same(
    harness: EngineHarness, method: str
) -> None:
    """Regression targets are standardised: their unit must not decide what the trunk learns."""
    spec = MULTITASK | {"balancing": {"method": method}, "training": TRAINING | {"epochs": 3}}
    harness.dataset(blobs())
    plain = harness.run(spec, "plain")
    harness.dataset(rescaled(blobs()))
    large = harness.run(spec, "large")
    for name, weight in harness.weights("plain").items():
        torch.testing.assert_close(harness.weights("large")[name], weight, rtol=1e-3, atol=1e-4)
    expected = in_own_units(harness, "plain") * 1000.0 - 250_000.0
    np.testing.assert_allclose(in_own_units(harness, "large"), expected, rtol=1e-3, atol=10.0)
    rmse = [report_of(outcome).student.tasks["size"]["rmse"] for outcome in (plain, large)]
    assert rmse[0] is not None
    assert rmse[1] == pytest.approx(rmse[0] * 1000.0, rel=1e-3)


@pytest.mark.parametrize("method", sample(["fixed", *GRADIENT_METHODS], ["fixed", "pcgrad", "gradvac", "mgda"]))
def test_trap_7_half_the_weight_gives_the_head_half_the_step_and_leaves_the_trunk_to_the_aggregator(
    harness: EngineHarness, method: str
) -> None:
    """One step of plain sgd. Under a gradient method equal weights do not reach the trunk."""
    harness.dataset()
    training = {**TRAINING, "epochs": None, "steps": 1, "optimizer": "sgd", "momentum": 0.0}
    spec = {**MULTITASK, "balancing": {"method": method}, "training": training}
    before = initial(harness, spec)
    for job, weight in (("whole", 1.0), ("half", 0.5)):
        harness.run(spec | {"tasks": [task | {"weight": weight} for task in MULTITASK["tasks"]]}, job)
    whole, half = harness.weights("whole"), harness.weights("half")
    for name, start in before.items():
        share = 1.0 if method != "fixed" and name.startswith("layers") else 0.5
        torch.testing.assert_close(half[name] - start, share * (whole[name] - start), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", sample(METHODS, SORTS))
def test_trap_10_batch_norm_sees_one_mixed_batch_and_one_forward_pass_for_all_tasks(
    harness: EngineHarness, method: str
) -> None:
    """Rows with labels of one task and rows with labels of another are normalised together, once a step."""
    arrays = blobs()
    arrays["label"][::2], arrays["side"][1::2] = -1, -1
    harness.dataset(arrays)
    training = {**TRAINING, "epochs": None, "steps": 1}
    tasks = [{"name": "label"}, {"name": "side"}]
    student = {"family": "mlp", "hidden": [8], "normalization": "batch"}
    spec = {**MULTITASK, "tasks": tasks, "student": student, "training": training, "balancing": {"method": method}}
    harness.run(spec)
    before, after = initial(harness, spec), harness.weights()
    assert harness.data is not None
    dataset = read_dataset(Path(harness.data.path), harness.data.manifest)
    x = apply(dataset.inputs["x"][training_rows(harness)[:BATCH]], dataset.transforms["x"])
    h = x @ before["layers.0.weight"].T + before["layers.0.bias"]
    torch.testing.assert_close(after["norms.0.running_mean"], 0.1 * h.mean(0))
    torch.testing.assert_close(after["norms.0.running_var"], 0.9 + 0.1 * h.var(0))


@pytest.mark.parametrize(("method", "micro"), sample(PARTS, [*[(m, 5) for m in SORTS], ("fixed", 1), ("pcgrad", 31)]))
def test_micro_batches_give_the_student_of_whole_batches_with_labels_missing(
    harness: EngineHarness, method: str, micro: int
) -> None:
    arrays = blobs()
    random = np.random.default_rng(2)
    for name, missing in (("label", -1), ("side", -1), ("size", np.nan)):
        arrays[name][random.permutation(240)[:100]] = missing
    harness.dataset(arrays)
    spec = MULTITASK | {"relation": {"matrix": MATRIX}, "balancing": {"method": method}}
    harness.run(spec, "whole")
    harness.run(spec | {"training": TRAINING | {"micro_batch_size": micro}}, "parts")
    for name, weight in harness.weights("whole").items():
        torch.testing.assert_close(harness.weights("parts")[name], weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", sample(METHODS, SORTS))
def test_micro_batches_under_a_term_that_compares_rows_give_the_student_of_whole_batches(
    tmp_path: Path, method: str
) -> None:
    """The two passes hand a balancer gradients without their losses, and the losses beside them."""
    harness = harness_with_teachers(tmp_path)
    distilled = {
        "name": "label",
        "teachers": [{"model": TEACHER}],
        "distillation": {"soft_targets": {"method": "dist"}},
    }
    spec = MULTITASK | {"tasks": [distilled, {"name": "size"}, {"name": "side"}], "balancing": {"method": method}}
    spec |= {"control": False, "training": TRAINING | {"epochs": 3}}
    harness.run(spec, "whole")
    harness.run(spec | {"training": spec["training"] | {"micro_batch_size": 11}}, "parts")
    for name, weight in harness.weights("whole").items():
        torch.testing.assert_close(harness.weights("parts")[name], weight, rtol=2e-3, atol=2e-4)


GPL = {method_of(each): each.needs_packages for each in members(Balancing) if each.needs_packages}


@pytest.mark.parametrize("method", GPL)
def test_a_balancer_whose_packages_are_missing_ends_the_job_before_any_step_and_a_preflight_tells(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(make, "find_spec", lambda package: None)
    harness.dataset()
    spec = MULTITASK | {"balancing": {"method": method}}
    with pytest.raises(UserError) as refused:
        harness.run(spec)
    assert refused.value.code == "extra_needed"
    assert f"{GPL[method][0]} and {GPL[method][1]}" in refused.value.message
    assert "stillhouse[gpl]" in refused.value.message
    assert not any(isinstance(event, ProgressEvent) for event in harness.log.events)
    report = preflight(harness, spec)
    assert [each.code for each in report.would_fail] == ["extra_needed"]


def test_a_solver_that_fails_names_itself_and_gradients_that_are_not_finite_are_left_to_the_loop() -> None:
    def failing() -> Tensor:
        raise ArithmeticError("no solution")

    with pytest.raises(UserError) as failed:
        solved("CAGrad", failing, torch.eye(2), 3)
    assert failed.value.code == "balancing_failed"
    assert "CAGrad" in failed.value.message
    assert bool(solved("CAGrad", failing, torch.full((2, 2), torch.nan), 3).isnan().all())
    assert torch.equal(solved("CAGrad", failing, torch.zeros(2, 2), 3), torch.zeros(3))
