"""Students whose weights wait for the controls train beside them where both train at once: when, and to what end."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from app.contracts.problems import UserError
from app.contracts.wire.events import ChildEvent, MetricsEvent, ProgressEvent
from tests.engine.harness import EngineHarness, StopAtStep, report_of
from tests.engine.jobs.distillation.test_weak_teachers import (
    STEPS,
    STRONG,
    TRAINING,
    WEAK,
    distill,
    run,
    teachers,
    weights,
)
from tests.engine.jobs.preflight.test_preflight import preflight
from tests.exhaustive import sample
from workers.engine.common.files import read_document
from workers.engine.common.stop import Stopped
from workers.engine.jobs.runs.results import RunResult
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner

CORES: dict[str, Any] = {"cores": 2}


def finished(harness: EngineHarness, job: str = "job") -> set[str]:
    """The names of the runs whose results are stored."""
    return {each.name for each in (harness.folder / job / "checkpoints" / "finished").glob("*") if each.is_dir()}


def progress(harness: EngineHarness) -> list[ProgressEvent]:
    return [event for event in harness.log.events if isinstance(event, ProgressEvent)]


def last_points(events: Sequence[ChildEvent]) -> dict[str, list[float | None]]:
    """What the ledger keeps: of points of one series and step the last."""
    of_metrics = [event for event in events if isinstance(event, MetricsEvent)]
    kept = {(point.series, point.step): point.value for event in of_metrics for point in event.points}
    series: dict[str, list[float | None]] = {}
    for (name, _), value in sorted(kept.items()):
        series.setdefault(name, []).append(value)
    return series


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_strong_teacher_s_student_trains_once_beside_its_control(harness: EngineHarness, repeats: int) -> None:
    teachers(harness)
    before = run(harness, distill(STRONG, repeats=repeats), "after")
    report = run(harness, distill(STRONG, repeats=repeats), **CORES)
    assert finished(harness) == {"beside", "repeat-1-beside"} - ({"repeat-1-beside"} if repeats == 1 else set())
    for role in ("student", "control"):
        assert harness.digest("job", role=role) == harness.digest("after", role=role)
    assert (report.verdict, report.chosen) == (before.verdict, before.chosen)
    steps = [(each.step, each.steps, each.percent) for each in progress(harness)]
    assert steps == sorted(steps)
    assert steps[-1] == (repeats * STEPS, repeats * STEPS, 100.0)


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_weak_teacher_s_student_trains_again_and_its_points_replace_the_first(
    harness: EngineHarness, repeats: int
) -> None:
    """With two seeds the first control says that the teacher is weak, and the second student waits."""
    teachers(harness)
    after = run(harness, distill(WEAK, repeats=repeats), "after")
    expected = last_points(harness.log.events)
    report = run(harness, distill(WEAK, repeats=repeats), **CORES)
    seeds = {"repeat-1-control", "repeat-1"} if repeats == 2 else set()
    assert finished(harness) == {"beside", *seeds}
    for role in ("student", "control"):
        assert harness.digest("job", role=role) == harness.digest("after", role=role)
    assert weights(report) == (0.1, 0.9)
    assert (report.verdict, report.chosen, report.warnings) == (after.verdict, after.chosen, after.warnings)
    assert last_points(harness.log.events) == expected
    assert (progress(harness)[-1].step, progress(harness)[-1].percent) == ((2 * repeats) * STEPS, 100.0)
    falls = [later for earlier, later in pairwise(progress(harness)) if later.percent < earlier.percent]
    assert len(falls) <= 1, "once, where the student begins again"


@pytest.mark.parametrize(("teacher", "repeats"), sample([(WEAK, 1), (WEAK, 2), (STRONG, 2)], [(WEAK, 2)]))
@pytest.mark.parametrize("cores", [2, 1])
def test_a_job_that_is_stopped_anywhere_ends_the_same(
    harness: EngineHarness, teacher: str, repeats: int, cores: int
) -> None:
    """Beside the controls, between both trainings, and in the students; also on a worker that has fewer cores."""
    teachers(harness)
    spec = distill(teacher, repeats=repeats)
    whole = run(harness, spec, "whole", **CORES)
    expected = last_points(harness.log.events)
    attempt, events = 1, list[ChildEvent]()
    for polls in (60, STEPS + 5, 40, STEPS - 20, 70):
        try:
            run(harness, spec, "parts", attempt, stop=StopAtStep(polls), cores=2 if attempt == 1 else cores)
        except Stopped:
            attempt += 1
        events += harness.log.events
    assert attempt > 2
    parts = run(harness, spec, "parts", attempt + 1, cores=cores)
    events += harness.log.events
    for role in ("student", "control"):
        assert harness.digest("parts", attempt + 1, role) == harness.digest("whole", role=role)
    assert "beside" in finished(harness, "parts")
    assert (parts.chosen, parts.verdict) == (whole.chosen, whole.verdict)
    assert last_points(events).keys() == expected.keys()
    for name, values in last_points(events).items():
        np.testing.assert_array_equal(np.array(values, float), np.array(expected[name], float), err_msg=name)


@pytest.mark.parametrize(("teacher", "fails"), [(WEAK, "beside"), (STRONG, "repeat-1-beside")])
def test_a_student_that_fails_beside_its_control_trains_after_it(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, teacher: str, fails: str
) -> None:
    """The weights may be those of a weak teacher, with which it does not diverge; memory may be enough for one."""
    teachers(harness)
    run(harness, distill(teacher, repeats=2), "after")
    execute = Runner.run

    def failing(runner: Runner, each: Run) -> RunResult:
        if each.name == fails:
            raise UserError("diverged", "on purpose")
        return execute(runner, each)

    monkeypatch.setattr(Runner, "run", failing)
    run(harness, distill(teacher, repeats=2), **CORES)
    for role in ("student", "control"):
        assert harness.digest("job", role=role) == harness.digest("after", role=role)
    assert (progress(harness)[-1].step, progress(harness)[-1].percent) == (progress(harness)[-1].steps, 100.0)
    assert (read_document(harness.folder / "job" / "checkpoints" / "seeds.json") or {})["beside"] is False


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one core": ({}, {"cores": 1}),
    "early stopping": ({"training": TRAINING | {"early_stopping": {"patience": 3}}}, CORES),
    "seeds that train as one step": ({"repeats": "auto"}, CORES),
    "random numbers": ({"student": {"family": "mlp", "hidden": [8], "dropout": 0.5}}, CORES),
}


@pytest.mark.parametrize("case", CASES)
def test_the_control_trains_before_the_student_otherwise(harness: EngineHarness, case: str) -> None:
    teachers(harness)
    changes, order = CASES[case]
    run(harness, distill(STRONG, **({"repeats": 1} | changes)), **order)
    assert not {name for name in finished(harness) if "beside" in name}


def test_a_control_of_the_cache_is_what_a_teacher_is_compared_with_before_the_student_trains(
    harness: EngineHarness,
) -> None:
    teachers(harness)
    first = run(harness, distill(WEAK, repeats=1), "first", **CORES)
    cache = str(harness.folder / "cache-first")
    second = report_of(harness.run(distill(WEAK, repeats=1), "second", cache_dir=cache, **CORES))
    assert "beside" in finished(harness, "first")
    assert "beside" not in finished(harness, "second")
    assert second.control is not None
    assert second.control.cached
    assert second.chosen == first.chosen
    assert harness.digest("second") == harness.digest("first")


def test_seeds_that_cannot_train_as_one_step_train_beside_their_controls(harness: EngineHarness) -> None:
    teachers(harness)
    student = {"family": "mlp", "hidden": [8], "normalization": "batch"}
    report = run(harness, distill(STRONG, repeats="auto", student=student), **CORES)
    assert finished(harness) >= {"beside", "repeat-1-beside", "repeat-2-beside"}
    run(harness, distill(STRONG, repeats="auto", student=student), "after")
    assert harness.digest("job") == harness.digest("after")
    assert report.control is not None


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_preflight_counts_students_beside_their_controls(harness: EngineHarness, repeats: int) -> None:
    teachers(harness)
    report = preflight(harness, distill(STRONG, repeats=repeats), **CORES)
    assert report.steps == repeats * STEPS
    assert [(stage.name, stage.runs, stage.members) for stage in report.stages] == [
        ("student", 1, ("student", "control")),
        *([("repeats", 2, ("student", "control"))] if repeats == 3 else []),
    ]
