"""`repeats: "auto"`: three seeds, more while undecided; controls of earlier jobs; what is exported and recorded."""

import zipfile
from typing import Any

import numpy as np
import pytest
import torch

from app.contracts.layouts.summary import flops
from app.contracts.reports.report import Report
from app.contracts.wire.events import ProgressEvent
from tests.engine.harness import EngineHarness, StopAtStep, blobs, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING, add_teachers, soft
from tests.engine.jobs.interrupted_jobs import points
from tests.engine.jobs.runs.seeded_runs import seeded_runs
from workers.engine.common.stop import Stopped
from workers.engine.evaluation.verdict.crossed_interval import crossed
from workers.engine.jobs.runs import affordable, seeds

Json = dict[str, Any]


def auto(method: str = "kd", **changes: Any) -> Json:
    return soft({"method": method}, repeats="auto", **changes)


def run(harness: EngineHarness, spec: Json, name: str = "auto", **changes: Any) -> Report:
    return report_of(harness.run(spec, name, **changes))


def test_an_undecided_difference_is_trained_with_more_seeds(harness: EngineHarness) -> None:
    add_teachers(harness)
    verdict = run(harness, auto()).verdict["label"]
    assert verdict.verdict in {"no_gain", "inconclusive"}
    assert (verdict.repeats, len(verdict.students), len(verdict.controls)) == (8, 8, 15)


def test_a_job_that_is_not_cheap_keeps_to_three(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affordable, "AFFORDABLE_FLOPS", 1e3)
    add_teachers(harness)
    verdict = run(harness, auto()).verdict["label"]
    assert (len(verdict.students), len(verdict.controls)) == (3, 3)


def test_a_job_trains_as_many_networks_as_are_affordable(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of them are students, up to their most, and at least the first seeds are trained."""
    add_teachers(harness)
    with seeded_runs(harness, auto()) as runs:
        main = runs.seeds[0]
        steps, rows = main.schedule().steps, min(main.training.batch_size, len(main.schedule().rows))
        each = 3 * steps * rows * flops(main.run_spec.architecture)
        for paid, networks in ((1, (3, 3)), (7, (3, 4)), (11, (5, 6)), (18, (8, 10)), (50, (8, 15))):
            monkeypatch.setattr(affordable, "AFFORDABLE_FLOPS", (paid + 0.5) * each)
            assert affordable.most_networks(main) == affordable.Networks(*networks)


def test_controls_of_earlier_jobs_are_counted(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    add_teachers(harness)
    first = run(harness, auto(), "first").verdict["label"]
    monkeypatch.setattr(affordable, "AFFORDABLE_FLOPS", 1e3)
    second = run(harness, auto("dist"), "second").verdict["label"]
    assert len(second.students) == 3
    assert second.controls == first.controls


def test_every_interval_can_be_computed_from_the_predictions(harness: EngineHarness) -> None:
    add_teachers(harness)
    report = run(harness, auto())
    verdict = report.verdict["label"]
    with np.load(harness.outputs("auto") / "predictions-test.npz") as file:
        labels = file["test/label/label"]
        right = [
            torch.from_numpy(file[f"test/label/{group}"].argmax(axis=2) == labels[:, None]).double().T
            for group in ("students", "controls")
        ]
        exported = file["test/label/students"][:, report.student.seed or 0]
        np.testing.assert_array_equal(file["test/label/student"], exported)
    estimate = crossed(*right)
    assert verdict.students == tuple(right[0].mean(dim=1).tolist())
    assert (verdict.standard_error, verdict.freedom) == (estimate.standard_error, estimate.freedom)


def test_a_job_that_was_interrupted_ends_the_same(harness: EngineHarness) -> None:
    add_teachers(harness)
    whole = run(harness, auto(), "whole")
    elsewhere = str(harness.folder / "other")
    attempt = 1
    for step in (7, 20, 11):
        with pytest.raises(Stopped):
            harness.run(auto(), "broken", stop=StopAtStep(step), attempt=attempt, cache_dir=elsewhere)
        attempt += 1
    broken = run(harness, auto(), "broken", attempt=attempt, cache_dir=elsewhere)
    assert broken.verdict == whole.verdict
    assert harness.digest("broken", attempt=attempt) == harness.digest("whole")


def test_a_control_of_few_labels_is_evaluated_as_often_as_its_student(harness: EngineHarness) -> None:
    """Its epochs are shorter: more evaluations would choose among more epochs."""
    add_teachers(harness)
    arrays = blobs()
    arrays["label"] = np.where(np.arange(len(arrays["label"])) % 4 == 0, arrays["label"], -1)
    harness.dataset(arrays)
    run(harness, soft({"method": "kd"}, training={**TRAINING, "epochs": 12, "evaluate_every": 2}))
    series = [name for name, *_ in points(harness) if name.endswith("validation/label/accuracy")]
    counts = {name: series.count(name) for name in series}
    assert set(counts) == {"validation/label/accuracy", "control/validation/label/accuracy"}
    assert abs(counts["validation/label/accuracy"] - counts["control/validation/label/accuracy"]) <= 1


def test_without_a_control_one_student_is_trained(harness: EngineHarness) -> None:
    add_teachers(harness)
    report = run(harness, auto(control=False))
    assert report.verdict["label"].verdict == "not_applicable"
    with zipfile.ZipFile(harness.outputs("auto") / "predictions-test.npz") as file:
        assert "test/label/students.npy" not in file.namelist()


def progress(harness: EngineHarness) -> list[ProgressEvent]:
    return [event for event in harness.log.events if isinstance(event, ProgressEvent)]


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_progress_only_rises_and_no_network_comes_that_was_not_planned(harness: EngineHarness, optimizer: str) -> None:
    """Student and control of a seed as one run, and all students as one step; a second job finds cached controls."""
    add_teachers(harness)
    training = {**TRAINING, "optimizer": optimizer}
    for name, spec in (
        ("first", auto(training=training)),
        ("second", auto("dist", training=training)),
    ):
        harness.log.events.clear()
        run(harness, spec, name)
        events = progress(harness)
        percents, steps = ([getattr(event, field) for event in events] for field in ("percent", "steps"))
        assert percents == sorted(percents)
        assert steps == sorted(steps, reverse=True)
        assert (percents[-1], events[-1].step) == (100.0, steps[-1])


def test_progress_ends_at_the_steps_of_three_seeds_where_they_decide(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeds.SeedRuns, "_goes_on", lambda self: False)
    add_teachers(harness)
    verdict = run(harness, auto()).verdict["label"]
    assert len(verdict.students) == 3
    events = progress(harness)
    percents = [event.percent for event in events]
    assert percents == sorted(percents)
    assert (percents[-1], events[-1].step) == (100.0, events[-1].steps)
    assert events[-1].steps < events[0].steps
