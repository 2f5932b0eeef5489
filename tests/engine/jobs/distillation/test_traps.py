"""Traps in distillation, by name: scale, numerics, self-check, accumulation, selection."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.engine.harness import Arrays, EngineHarness, blobs, report_of
from tests.engine.jobs.distillation.trained_jobs import (
    DISTILL,
    ROWS,
    add_trained_teacher,
    targets_with_teacher_column,
    trained,
)
from tests.engine.losses.small_terms import (
    class_target,
    counts_of,
    gradients,
    kd_term,
    member_of,
    mlp,
    places,
    scores,
    softmax,
    supervised,
    task_of,
)
from workers.engine.data.facts import vector_statistics
from workers.engine.data.reading import read_dataset
from workers.engine.data.rows.order import epoch_order
from workers.engine.losses.term import TermInputs
from workers.engine.models import build, initialise
from workers.engine.tasks.task import Task

TARGETS: dict[str, dict[str, Any]] = {
    "class": {"kind": "class", "classes": 3},
    "multilabel": {"kind": "multilabel"},
    "value": {"kind": "value"},
    "vector": {"kind": "vector"},
}


# Scale


@pytest.mark.parametrize(
    ("alpha", "beta", "tau", "labels"),
    [
        (0.9, 0.1, 4.0, "all"),
        (0.5, 2.0, 1.0, "all"),
        (0.7, 0.0, 3.0, "all"),
        (0.0, 0.6, 4.0, "all"),
        (0.9, 0.1, 2.0, "some"),
        (0.8, 0.1, 4.0, "none"),
        (0.8, 0.1, 4.0, "no column"),
    ],
)
def test_the_weights_and_tau_squared_apply_in_every_branch(
    harness: EngineHarness, alpha: float, beta: float, tau: float, labels: str
) -> None:
    """Scale: one step of plain descent moves a linear student by α·τ·(p_S - p_T) and β·(p_S - y), each in the mean of
    the rows that it counts, with or without labels and with either weight 0.
    """
    arrays = blobs(40)
    arrays["told"] = scores(40, 3, seed=5).numpy().astype(np.float32)
    if labels != "all":
        arrays["label"][8 if labels == "some" else 0 :] = -1
    targets = targets_with_teacher_column()
    target = "label" if labels != "no column" else None
    harness.dataset(
        arrays,
        targets=targets if target else {"told": targets["told"]},
        splits={"fractions": {"train": 1.0}},
    )
    terms = {"soft_targets": {"method": "kd", "temperature": tau, "weight": alpha}, "supervised": {"weight": beta}}
    spec = DISTILL | {
        "target": target,
        "teachers": [{"columns": "told"}],
        "student": {"family": "mlp", "hidden": []},
        "distillation": terms | {"allow_chance_teacher": True},
        "training": {"steps": 1, "batch_size": 40, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0},
        "control": False,
    }
    found = trained(harness, spec)
    start = build(found.run_spec.architecture)
    initialise(start, 0)
    x = arrays["x"].astype(np.float64)
    weight, bias = (p.detach().double().numpy() for p in start.parameters())
    z = x @ weight.T + bias
    pull = alpha * tau * (softmax(z / tau) - softmax(arrays["told"] / tau)) / 40
    known = arrays["label"] >= 0
    if target and known.any():
        pull[known] += beta * (softmax(z) - np.eye(3)[arrays["label"]])[known] / known.sum()
    moved, moved_bias = (p.detach().double().numpy() for p in found.student.network.parameters())
    np.testing.assert_allclose(weight - moved, pull.T @ x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bias - moved_bias, pull.sum(0), rtol=1e-4, atol=1e-5)


# Numerics


def test_a_batch_or_a_row_without_a_valid_target_gives_zero_and_no_nan() -> None:
    """Rows 0 and 1 have nothing at all; row 2 has a label, row 3 a teacher."""
    teacher = scores(4, 3, seed=1).float()
    teacher[:3] = torch.nan
    task = task_of(kd_term(teacher), supervised(class_target([-1, -1, 2, -1], 3)))
    x = scores(4, 5, seed=2).float()
    learner = member_of(mlp(5, 3), task)
    empty = gradients(learner, x, places([0, 1]), micro=2)
    assert all(float(value.abs().sum()) == 0.0 for value in empty.values())
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    learner.end_step(0, 1)
    assert all(torch.equal(learner.network.state_dict()[name], value) for name, value in before.items())
    whole = gradients(learner, x, places([0, 1, 2, 3]), micro=4)
    only = gradients(learner, x, places([2, 3]), micro=2)
    for name, value in whole.items():
        assert bool(value.isfinite().all())
        torch.testing.assert_close(value, only[name], rtol=1e-5, atol=1e-7)
    terms = task.loss(TermInputs(scores(4, 3).float()), places(4), counts_of(task, places(4))[0])
    assert any(term.weight > 0.0 for term in terms)
    assert bool(torch.stack([term.mean for term in terms]).isfinite().all())


def test_every_batch_is_divided_by_its_own_number_of_targets(harness: EngineHarness) -> None:
    """Few rows have a label, few one teacher or two; some batches of 4 lack either, and then record 0. A student that
    stands still (its rate is next to nothing) shows the loss of every batch as its own rows have it.
    """
    arrays = blobs()
    random = np.random.default_rng(4)
    for name, seed, learnable_rows in (("told", 1, 50), ("said", 2, 30)):
        arrays[name] = scores(240, 3, seed).numpy()
        arrays[name][random.permutation(240)[learnable_rows:]] = np.nan
    arrays["label"][random.permutation(240)[80:]] = -1
    harness.dataset(
        arrays,
        targets=targets_with_teacher_column() | {"said": targets_with_teacher_column()["told"]},
        splits={"fractions": {"train": 1.0}},
    )
    spec = DISTILL | {
        "teachers": [{"columns": "told"}, {"columns": "said", "weight": 3.0}],
        "student": {"family": "mlp", "hidden": []},
        "distillation": {"soft_targets": {"method": "kd", "temperature": 4.0}, "allow_chance_teacher": True},
        "training": {"epochs": 1, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 1e-9, "optimizer": "sgd"},
    }
    found = trained(harness, spec | {"control": False})
    network = build(found.run_spec.architecture)
    initialise(network, 0)
    with torch.no_grad():
        z = network(torch.from_numpy(arrays["x"]))["label"].numpy()
    shares = np.stack([~np.isnan(arrays["told"][:, 0]), ~np.isnan(arrays["said"][:, 0])]) * [[1.0], [3.0]]
    soft = [np.nan_to_num(softmax(arrays[name] / 4.0)) for name in ("told", "said")]
    p = np.einsum("kn,knc->nc", shares, np.stack(soft)) / np.maximum(shares.sum(0), 1.0)[:, None]
    kd = 16.0 * (p * (np.log(np.maximum(p, 1e-30)) - np.log(softmax(z / 4.0)))).sum(1)
    label = -np.log(softmax(z))[np.arange(240), arrays["label"]]
    rows = torch.tensor([row for row in range(240) if shares.sum(0)[row] or arrays["label"][row] >= 0])
    batches = [part.numpy() for part in torch.split(epoch_order(rows, 0, 0), 4)]
    for series, losses, counted in (("kd", kd, shares.sum(0) > 0), ("supervised", label, arrays["label"] >= 0)):
        expected = [losses[part[counted[part]]].sum() / max(1, counted[part].sum()) for part in batches]
        assert harness.log.series(f"train/label/{series}") == pytest.approx(expected, rel=1e-4)
        assert 0.0 in expected
    assert all(bool(value.isfinite().all()) for value in found.student.network.parameters())


# Self-check


def goal(kind: str) -> tuple[Arrays, dict[str, Any], int]:
    """Rows whose `label` is of some kind, what a teacher says of its numbers, and how many there are."""
    arrays = blobs(ROWS)
    if kind == "class":
        return arrays, {}, 3
    if kind == "multilabel":
        return arrays | {"label": (arrays["x"][:, :4] > 0).astype(np.float32)}, {}, 4
    if kind == "vector":
        return arrays | {"label": arrays["x"][:, :2]}, {}, 2
    return arrays | {"label": arrays["size"]}, {"mean": 7.0, "std": 3.0}, 1


@pytest.mark.parametrize("kind", ["class", "multilabel", "value", "vector"])
def test_the_loss_is_zero_when_the_student_is_the_teacher_in_every_shuffled_batch(
    harness: EngineHarness, kind: str
) -> None:
    """Self-check, and soft targets made from the very inputs that the student sees: the teacher is the student as it
    was drawn. A target of another row, another scale or another mode would show; so does another student.
    """
    arrays, units, size = goal(kind)
    data = harness.dataset(arrays, inputs={"x": {"kind": "array", "scale": 0.5}}, targets={"label": TARGETS[kind]})
    start = mlp(6, size, hidden=(8,))
    weights = start.state_dict()
    if kind == "value":  # the same numbers in the teacher's own units
        facts = data.facts.targets["label"] if data.facts else None
        assert facts is not None
        assert facts.mean is not None
        assert facts.std is not None
        weights["layers.1.weight"] = weights["layers.1.weight"] * (facts.std / units["std"])
        shift = facts.mean - units["mean"]
        weights["layers.1.bias"] = (weights["layers.1.bias"] * facts.std + shift) / units["std"]
    if kind == "vector":  # what the student takes its vectors by
        rows = read_dataset(Path(data.path), data.manifest)
        mean, std = vector_statistics(rows.targets["label"], rows.splits["train"])
        units = {"mean": list(mean), "std": list(std)}
    manifest = {"architecture": start.architecture.model_dump(mode="json"), "inputs": {"x": {"scale": 0.5}}}
    harness.uploaded(weights, manifest | {"outputs": {"label": {"kind": kind, **units}}})
    alone = {"supervised": {"weight": 0.0}, "allow_chance_teacher": True}
    training = {"epochs": 2, "batch_size": 32, "learning_rate": 1e-9, "optimizer": "sgd"}
    spec = DISTILL | {"distillation": alone, "training": training, "control": False}
    harness.run(spec, "same")
    same = harness.log.series("train/loss")
    assert len(same) == 2 * 14
    assert max(abs(value) for value in same if value is not None) < 1e-6
    harness.run(spec | {"training": training | {"seed": 1}}, "other")
    other = harness.log.series("train/loss")
    assert min(value for value in other if value is not None) > 1e-3


# Accumulation


def semi_supervised(rows: int) -> tuple[Tensor, Task]:
    """Inputs, and a task of two teachers and labels, each missing on other rows."""
    a, b = scores(rows, 3, seed=1).float(), scores(rows, 3, seed=2).float()
    a[::3], b[::2] = torch.nan, torch.nan
    labels = [-1 if row % 4 else row % 3 for row in range(rows)]
    kd = kd_term(a, b, weights=[0.7, 0.3], weight=0.9)
    return scores(rows, 5, seed=4).float(), task_of(kd, supervised(class_target(labels, 3), weight=0.4))


@pytest.mark.parametrize("micro", [1, 7, 16, 22])
def test_micro_batches_give_the_gradient_of_the_full_batch(micro: int) -> None:
    """Accumulation: sums over the true counts of the batch, the last micro-batch ragged."""
    x, task = semi_supervised(23)
    batch = places(torch.randperm(23, generator=torch.Generator().manual_seed(0)).tolist())
    whole = gradients(member_of(mlp(5, 3), task), x, batch, micro=23)
    parts = gradients(member_of(mlp(5, 3), task), x, batch, micro)
    assert max(float(value.abs().max()) for value in whole.values()) > 0.05
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("student", "micro", "exact"), [("none", 31, True), ("batch", 31, False), ("batch", None, True)]
)
def test_a_batch_norm_student_in_micro_batches_is_marked_inexact(
    harness: EngineHarness, student: str, micro: int | None, exact: bool
) -> None:
    """Batches of 63 rows in parts of 31 leave one row over, of which BatchNorm has no statistics."""
    add_trained_teacher(harness)
    training = {"epochs": 1, "batch_size": 63, "micro_batch_size": micro}
    spec = {"student": {"family": "mlp", "hidden": [8], "normalization": student}, "training": training}
    report = report_of(harness.run(DISTILL | spec | {"control": False}, "micro"))
    assert report.exact_accumulation is exact
    assert ("inexact_accumulation" in harness.log.warnings) == (not exact)


# Selection and budget


def test_nothing_of_the_test_split_reaches_the_student(harness: EngineHarness) -> None:
    """Selection: best epoch by validation, never by test; nor do its inputs shift the standardisation."""
    split = np.array(["train"] * 160 + ["validation"] * 40 + ["test"] * 40)
    arrays = blobs() | {"split": split}
    columns = {"inputs": {"x": {"kind": "array", "standardize": True}}, "splits": {"column": "split"}}
    garbage = {name: value.copy() for name, value in arrays.items()}
    garbage["label"][200:] = (arrays["label"][200:] + 1) % 3
    garbage["x"][200:] = 1000.0
    reports = {}
    training = {"epochs": 12, "batch_size": 32, "learning_rate": 0.03}
    add_trained_teacher(harness)
    for job, data in {"true": arrays, "garbage": garbage}.items():
        harness.dataset(data, **columns)
        reports[job] = report_of(harness.run(DISTILL | {"training": training}, job))
    for role in ("student", "control"):
        one, two = harness.weights("true", role=role), harness.weights("garbage", role=role)
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert reports["true"].student.epoch == reports["garbage"].student.epoch
    assert reports["true"].student.tasks != reports["garbage"].student.tasks


def test_the_control_takes_as_many_optimiser_steps(harness: EngineHarness) -> None:
    """Equal budget, by the optimisers' own counters; steps that are no whole number of epochs."""
    add_trained_teacher(harness)
    training = {"steps": 14, "batch_size": 32, "learning_rate": 0.01}
    report = report_of(harness.run(DISTILL | {"training": training}, checkpoint_seconds=0.0))
    assert report.control is not None
    assert (report.student.steps, report.control.steps) == (14, 14)
    last = harness.folder / "job" / "checkpoints" / harness.log.checkpoints[-1].name
    state = load_file(last / "tensors.safetensors")
    assert float(state["student/optimizer/0/step"]) == float(state["control/optimizer/0/step"]) == 13.0
