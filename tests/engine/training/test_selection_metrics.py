"""Epochs are selected by any metric of the report, in its direction, also in searches and early stopping."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from app.contracts.problems import UserError
from app.contracts.resources.manifests import (
    ClassOutput,
    MapOutput,
    MultilabelOutput,
    OutputSpec,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)
from app.contracts.specs.distillation import TaskKind
from app.contracts.specs.supervision.metrics import CLASS_KINDS, DIRECTIONS, METRICS, MetricName
from tests.engine.harness import STUDENT, EngineHarness, blobs, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING, add_teachers, job, soft
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.reading import read_dataset
from workers.engine.evaluation.metrics.task_metrics import Metrics, task_metrics
from workers.engine.training.validation import selection_score

SPECS: dict[TaskKind, OutputSpec] = {
    "class": ClassOutput(kind="class"),
    "token_class": TokenClassOutput(kind="token_class", classes=("O", "B-name", "I-name")),
    "map": MapOutput(kind="map", shape=(1, 2)),
    "multilabel": MultilabelOutput(kind="multilabel"),
    "value": ValueOutput(kind="value"),
    "vector": VectorOutput(kind="vector"),
}


def target(kind: TaskKind, rows: int = 20) -> TargetColumn:
    generator = torch.Generator().manual_seed(0)
    values = {
        "class": torch.arange(rows) % 3,
        "token_class": (torch.arange(2 * rows) % 3).reshape(rows, 2),
        "map": (torch.arange(2 * rows) % 3).reshape(rows, 2),
        "multilabel": (torch.rand(rows, 3, generator=generator) > 0.5).float(),
        "value": torch.rand(rows, generator=generator),
        "vector": torch.rand(rows, 3, generator=generator),
    }[kind]
    return TargetColumn(kind, 1 if kind == "value" else 3, values, torch.ones(rows, dtype=torch.bool))


def measured(kind: TaskKind, outputs: torch.Tensor) -> Metrics:
    return task_metrics(outputs, SPECS[kind], target(kind), torch.arange(len(outputs)))


@pytest.mark.parametrize("kind", get_args(TaskKind))
def test_the_table_has_exactly_the_metrics_of_the_report_and_their_direction(kind: TaskKind) -> None:
    column = target(kind)
    truth = column.values.reshape(20, -1).float()
    scored = kind in CLASS_KINDS
    perfect = torch.nn.functional.one_hot(column.values).float() * 40.0 if scored else truth
    perfect = truth * 80.0 - 40.0 if kind == "multilabel" else perfect
    right, wrong = measured(kind, perfect), measured(kind, torch.randn(perfect.shape, generator=torch.manual_seed(1)))
    assert set(METRICS[kind]) == set(right) - {"rows"}
    for name in METRICS[kind]:
        better, worse = right[name], wrong[name]
        assert better is not None
        assert worse is not None
        assert better > worse if DIRECTIONS[name] == "higher" else better < worse
        assert selection_score(right, kind, name, "task") > selection_score(wrong, kind, name, "task")


@pytest.mark.parametrize(
    ("target", "name"),
    [("label", "nll"), ("label", "macro_f1"), ("label", "auroc"), ("label", "brier"), ("size", "mae"), ("size", "r2")],
)
def test_the_exported_epoch_is_the_best_by_the_named_metric(
    harness: EngineHarness, target: str, name: MetricName
) -> None:
    harness.dataset()
    rate = 0.1 if target == "label" else 0.01
    training = {"epochs": 8, "batch_size": 16, "learning_rate": rate, "select_by": name, "momentum": 0.95}
    spec = {"kind": "train", "target": target, "model": STUDENT, "training": training | {"optimizer": "sgd"}}
    report = report_of(harness.run(spec))
    values = [value for value in harness.log.series(f"validation/{target}/{name}") if value is not None]
    best = max(values) if DIRECTIONS[name] == "higher" else min(values)
    losses = harness.log.series("validation/loss")
    tied = [epoch for epoch, value in enumerate(values, start=1) if value == best]
    assert report.student.epoch == min(tied, key=lambda epoch: losses[epoch - 1] or 0.0)


def test_a_metric_that_the_validation_labels_leave_undefined_ends_the_job_by_name(harness: EngineHarness) -> None:
    harness.dataset()
    assert harness.data is not None
    arrays = blobs()
    validation = read_dataset(Path(harness.data.path), harness.data.manifest).splits["validation"].numpy()
    arrays["label"][validation] = 1
    harness.dataset(arrays)
    spec = {"kind": "train", "target": "label", "model": STUDENT, "training": {"epochs": 2, "select_by": "auroc"}}
    with pytest.raises(UserError) as caught:
        harness.run(spec)
    assert caught.value.code == "metric_undefined"


def test_several_tasks_are_averaged_over_those_that_have_the_metric(harness: EngineHarness) -> None:
    harness.dataset()
    training = {"epochs": 6, "batch_size": 16, "learning_rate": 0.05, "select_by": "nll"}
    tasks = [{"name": name} for name in ("label", "side", "size")]
    spec = {"kind": "multitask", "tasks": tasks, "student": STUDENT, "training": training, "baselines": True}
    report = report_of(harness.run(spec))
    by_task = [harness.log.series(f"validation/{name}/nll") for name in ("label", "side")]
    means = [np.mean([value for value in pair if value is not None]) for pair in zip(*by_task, strict=True)]
    assert report.student.epoch == int(np.argmin(means)) + 1
    assert report.baselines is not None  # that of `size` has no nll, and is selected by its own metric


def test_early_stopping_waits_for_the_named_metric(harness: EngineHarness) -> None:
    harness.dataset()
    stopping = {"early_stopping": {"patience": 2}, "select_by": "ece", "learning_rate": 0.1}
    spec = {
        "kind": "train",
        "target": "label",
        "model": STUDENT,
        "training": {"epochs": 40, "batch_size": 16} | stopping,
    }
    report = report_of(harness.run(spec))
    values = [value for value in harness.log.series("validation/label/ece") if value is not None]
    assert report.student.epoch == values.index(min(values)) + 1
    assert len(values) == report.student.epoch + 2


def test_a_search_is_scored_by_the_named_metric_as_one_step_and_one_by_one(harness: EngineHarness) -> None:
    add_teachers(harness)
    training: dict[str, Any] = {**TRAINING, "select_by": "nll"}
    searched = {"method": "kd", "temperature": {"search": [1.0, 8.0]}}
    together = report_of(harness.run(soft(searched, training=training) | {"control": False}, "together"))
    beside = {"method": "kd", "temperature": {"learned": True}, "weight": 0.0}
    spec = job(
        {"soft_targets": [{**searched, "weight": 0.9}, beside], "supervised": {"weight": 0.1}}, training=training
    )
    apart = report_of(harness.run(spec | {"control": False}, "apart"))
    assert together.search is not None
    assert apart.search is not None
    scores = [[trial.score for trial in report.search.trials] for report in (together, apart) if report.search]
    assert scores[0] == pytest.approx(scores[1], rel=1e-3)
    assert all(score is not None and score < 0.0 for score in scores[0])
