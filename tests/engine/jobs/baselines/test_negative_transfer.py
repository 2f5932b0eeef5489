"""The warning `negative_transfer`: where a task is certainly worse than alone, and where it must not come."""

from typing import Any

import numpy as np
import pytest

from app.contracts.reports.baselines import TaskAgainstBaseline
from app.contracts.reports.document.text import render
from app.contracts.reports.report import Report
from tests.engine.harness import Arrays, EngineHarness, blobs, report_of
from workers.engine.evaluation.verdict.negative_transfer import CONFLICTS, is_worse

Json = dict[str, Any]
TRAINING: Json = {"steps": 100, "batch_size": 64, "learning_rate": 0.03, "schedule": "cosine", "evaluate_every": 10}
SPLITS: Json = {"fractions": {"train": 0.6, "validation": 0.1, "test": 0.3}}
NUMBERS = 6


def many_numbers() -> tuple[Arrays, Json]:
    """As many independent numbers as tasks: a trunk of three units has room for a part of them."""
    x = np.random.default_rng(2).normal(size=(600, NUMBERS)).astype(np.float32)
    names = [f"y{i}" for i in range(NUMBERS)]
    return {"x": x, **{name: x[:, i] for i, name in enumerate(names)}}, {name: {"kind": "value"} for name in names}


def spec(names: list[str], width: int, **changes: Any) -> Json:
    tasks = [{"name": name} for name in names]
    student = {"family": "mlp", "hidden": [width]}
    return {"kind": "multitask", "tasks": tasks, "student": student, "baselines": True, "training": TRAINING, **changes}


def warned(report: Report) -> list[str]:
    return [each["message"] for each in report.warnings if each["code"] == "negative_transfer"]


def test_tasks_that_do_not_fit_a_trunk_together_are_told_with_their_fall_and_conflicts(harness: EngineHarness) -> None:
    arrays, targets = many_numbers()
    harness.dataset(arrays, targets=targets, splits=SPLITS)
    for repeats in (3, 1):
        report = report_of(harness.run(spec(list(targets), 3, repeats=repeats), f"job-{repeats}"))
        assert harness.log.warnings.count("negative_transfer") == len(warned(report)) > 0
        assert report.baselines is not None
        assert report.relation is not None
        message = warned(report)[0]
        place = next(i for i in range(NUMBERS) if message.startswith(f"expected `y{i}`"))
        task = report.baselines.tasks[f"y{place}"]
        conflicts = [each or 0.0 for i, each in enumerate(report.relation.conflicts[place]) if i != place]
        share = sum(conflicts) / len(conflicts)
        for part in (f"rmse {task.student:.4g}", f"{task.baseline:.4g}", f"{share:.0%}", "sharing", "balancing"):
            assert part in message


def test_tasks_that_are_alike_are_not_told(harness: EngineHarness) -> None:
    arrays = {**blobs(), "again": blobs()["label"]}
    targets = {name: {"kind": "class", "classes": 3} for name in ("label", "again")}
    harness.dataset(arrays, targets=targets, splits=SPLITS)
    assert warned(report_of(harness.run(spec(list(targets), 8)))) == []


def test_unrelated_tasks_with_room_for_both_are_not_told_though_their_gradients_conflict(
    harness: EngineHarness,
) -> None:
    random = np.random.default_rng(4)
    x = random.normal(size=(600, 8)).astype(np.float32)
    noisy = {f"y{i}": (x[:, i] + random.normal(size=600) > 0).astype(int) for i in range(2)}
    targets = {name: {"kind": "class", "classes": 2} for name in noisy}
    harness.dataset({"x": x, **noisy}, targets=targets, splits=SPLITS)
    report = report_of(harness.run(spec(list(targets), 32, training={**TRAINING, "steps": 300})))
    assert report.relation is not None
    assert (report.relation.conflicts[0][1] or 0.0) > CONFLICTS
    assert warned(report) == []


def test_without_baselines_nothing_is_told(harness: EngineHarness) -> None:
    arrays, targets = many_numbers()
    harness.dataset(arrays, targets=targets, splits=SPLITS)
    assert warned(report_of(harness.run(spec(list(targets), 4, baselines=False)))) == []


def against(difference: float, half_width: float, repeats: int) -> TaskAgainstBaseline:
    return TaskAgainstBaseline(
        verdict="loss",
        difference=difference,
        interval=(difference - half_width, difference + half_width),
        margin=0.005,
        repeats=repeats,
        method="",
    )


@pytest.mark.parametrize(
    ("difference", "half_width", "repeats", "conflicts", "warned"),
    [
        (-0.02, 0.015, 3, None, True),
        (-0.02, 0.021, 3, 0.9, False),
        (-0.003, 0.001, 3, 0.9, False),
        (-0.08, 0.02, 1, 0.5, True),
        (-0.004, 0.001, 1, 0.5, False),
        (-0.05, 0.02, 1, 0.5, False),
        (-0.08, 0.02, 1, 0.1, False),
        (-0.08, 0.02, 1, None, False),
        (0.08, 0.02, 3, 0.9, False),
    ],
)
def test_a_fall_is_certain_over_seeds_or_far_beyond_the_test_rows_and_with_conflicts(
    difference: float, half_width: float, repeats: int, conflicts: float | None, warned: bool
) -> None:
    assert is_worse(against(difference, half_width, repeats), conflicts) is warned


def test_repeats_without_teachers_have_the_figures_of_each_seed(harness: EngineHarness) -> None:
    harness.dataset()
    job = spec(["label", "size"], 8, repeats=2, training={**TRAINING, "steps": 12})
    report = report_of(harness.run(job))
    assert report.verdict == {}
    assert {task: len(figures) for task, figures in report.seeds.items()} == {"label": 2, "size": 2}
    for seed in range(2):
        single = {**job, "repeats": 1, "baselines": False, "training": {**job["training"], "seed": seed}}
        alone = report_of(harness.run(single, f"seed-{seed}"))
        assert {task: figures[seed] for task, figures in report.seeds.items()} == alone.student.tasks
        assert alone.seeds == {}
    assert report.baselines is not None
    accuracies = [figures["accuracy"] for figures in report.seeds["label"]]
    assert list(report.baselines.tasks["label"].students) == pytest.approx(accuracies)
    assert "students by seed: accuracy" in render(report.model_dump(mode="json"))
