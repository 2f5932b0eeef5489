"""Networks that train as one step against a job of each."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.benchmarks.accuracy.defaults.grid import PLAIN, Setting
from tests.benchmarks.accuracy.defaults.run import figure_of, job, measure
from tests.benchmarks.accuracy.defaults.sets.data_set import DataSet, split_column
from tests.benchmarks.accuracy.defaults.stacked.figures import measured
from tests.benchmarks.accuracy.defaults.stacked.member import Member, load
from tests.benchmarks.accuracy.defaults.stacked.train import TrainedStack, train_stack
from tests.engine.harness import Arrays, EngineHarness, blobs, report_of

MLP = {"family": "mlp", "hidden": [8]}
RECIPE = {"recipe": "default", "steps": 40, "evaluate_every": 2}


def _arrays(seed: int) -> Arrays:
    arrays = blobs(rows=150, seed=3)
    labels = np.stack([arrays["side"], arrays["label"] > 0], axis=1).astype(np.float32)
    return {**arrays, "labels": labels, "split": split_column(150, seed)}


def _data(target: str, student: dict[str, Any] = MLP, **more: Any) -> DataSet:
    targets: dict[str, dict[str, Any]] = {
        "label": {"kind": "class", "classes": 3},
        "labels": {"kind": "multilabel", "size": 2},
        "size": {"kind": "value"},
    }
    metric: Any = {"label": "accuracy", "labels": "macro_f1", "size": "rmse"}[target]
    return DataSet("blobs", _arrays, student, metric, {target: targets[target]}, "blobs", **more)


def _setting(rate: float, decay: float) -> Setting:
    return Setting(f"{rate}", tuple((RECIPE | {"learning_rate": rate, "weight_decay": decay}).items()), None)


BLOBS = _data("label")
TASKS = replace(BLOBS, targets={"label": {"kind": "class", "classes": 3}, "side": {"kind": "class", "classes": 2}})
SEQUENCE = _data("label", {"family": "transformer", "width": 8, "depth": 1, "heads": 2}, input={"shape": [3, 2]})
SETTINGS = [(_setting(0.01, 0.01), 0), (_setting(0.04, 0.3), 0), (_setting(0.02, 0.0), 1)]


def _stack(data: DataSet, folder: Path) -> TrainedStack:
    members = []
    for i, (setting, seed) in enumerate(SETTINGS):
        harness = _harness(data, seed, folder / f"stack-{i}")
        members.append(Member(load(harness, job(data, setting.spec(seed))), seed))
    return train_stack(members)


def _harness(data: DataSet, seed: int, folder: Path) -> EngineHarness:
    folder.mkdir()
    harness = EngineHarness(folder)
    harness.dataset(data.arrays(seed), **data.manifest(None))
    return harness


@pytest.mark.parametrize(
    "data",
    [BLOBS, _data("labels", training={"select_by": "macro_f1"}), _data("size"), TASKS],
    ids=["classes", "labels", "values", "tasks"],
)
def test_each_network_of_a_stack_has_the_weights_of_its_own_job(data: DataSet, tmp_path: Path) -> None:
    stack = _stack(data, tmp_path)
    for k, (setting, seed) in enumerate(SETTINGS):
        weights, epoch = _of_job(data, setting, seed, tmp_path / f"job-{k}")
        assert stack.epochs[k] == epoch
        for name, value in stack.weights.items():
            torch.testing.assert_close(value[k], weights[name], rtol=1e-3, atol=1e-4)


def test_a_transformer_of_a_stack_is_that_of_its_own_job_but_for_biases_of_keys(tmp_path: Path) -> None:
    # Attention does not depend on them: their gradients are rounding errors, which adam scales up.
    stack = _stack(SEQUENCE, tmp_path)
    for k, (setting, seed) in enumerate(SETTINGS):
        weights, epoch = _of_job(SEQUENCE, setting, seed, tmp_path / f"job-{k}")
        assert stack.epochs[k] == epoch
        for name in stack.weights.keys() - {"blocks.0.key.bias"}:
            torch.testing.assert_close(stack.weights[name][k], weights[name], rtol=1e-3, atol=1e-4)


def _of_job(data: DataSet, setting: Setting, seed: int, folder: Path) -> tuple[dict[str, torch.Tensor], int | None]:
    """(weights, epoch) of the student of a job."""
    harness = _harness(data, seed, folder)
    report = report_of(harness.run(job(data, setting.spec(seed))))
    return harness.weights(), report.student.epoch


def test_the_figures_of_a_stack_are_those_of_jobs() -> None:
    found = dict(measured(BLOBS, [*SETTINGS, (PLAIN, 0)]))
    assert list(found) == [*SETTINGS, (PLAIN, 0)]
    for (setting, seed), figure in found.items():
        own = measure(BLOBS, setting, seed)
        assert figure.figure == pytest.approx(own.figure)
        assert figure.steps == own.steps


def test_the_figure_of_two_tasks_is_their_mean(tmp_path: Path) -> None:
    harness = _harness(TASKS, 0, tmp_path / "job")
    report = report_of(harness.run(job(TASKS, SETTINGS[0][0].spec(0))))
    accuracies = [tasks["accuracy"] or 0.0 for tasks in report.student.tasks.values()]
    assert len(accuracies) == 2
    assert figure_of(report, "accuracy") == pytest.approx(sum(accuracies) / 2)


def test_networks_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    members = []
    for i, setting in enumerate((SETTINGS[0][0], PLAIN)):
        harness = _harness(BLOBS, 0, tmp_path / f"{i}")
        members.append(Member(load(harness, job(BLOBS, setting.spec(0))), 0))
    with pytest.raises(ValueError, match="differ in rate, decay and seed only"):
        train_stack(members)
