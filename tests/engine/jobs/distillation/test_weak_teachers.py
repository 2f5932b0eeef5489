"""A teacher weaker than the control gets less weight, where the recipe chose it: when, and what is said of it."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from app.contracts.reports.report import Report
from app.contracts.wire.events import PhaseEvent, ProgressEvent, WarningEvent
from tests.engine.harness import SECOND, TEACHER, Arrays, EngineHarness, StopAtStep, blobs, made_once, report_of
from tests.engine.jobs.preflight.test_preflight import preflight
from tests.exhaustive import sample
from workers.engine.common.files import read_document, write_document
from workers.engine.common.stop import Stopped

Json = dict[str, Any]
Taught = Callable[[Any], tuple[EngineHarness, Report]]
STEPS = 150
TRAINING: Json = {"recipe": "default", "steps": STEPS}
WEAK, STRONG = TEACHER, SECOND
MLP: Json = {"family": "mlp", "hidden": [8]}
CODE = "teacher_weaker_than_control"
TERMS = ("label/kd", "label/supervised", "side/kd", "side/supervised")
WEIGHTS, LABELS = "/distillation/soft_targets", "/distillation/supervised/weight"


def rows() -> Arrays:
    """Classes that overlap, and half-planes with noise."""
    arrays, draw = blobs(900), np.random.default_rng(3)
    noisy = arrays["x"] + draw.normal(size=arrays["x"].shape)
    return arrays | {"x": noisy.astype(np.float32)}


@made_once
def teachers(harness: EngineHarness) -> None:
    """Of `label` one that was trained for a few steps, and one for many; both have outputs for `side` too."""
    harness.dataset(rows())
    tasks = [{"name": name, "target": name} for name in ("label", "side")]
    for name, model, steps in (("weak", WEAK, 5), ("strong", STRONG, 400)):
        training = {"recipe": "default", "steps": steps, "seed": 9}
        spec = {"kind": "multitask", "tasks": tasks, "student": {"family": "mlp", "hidden": [32]}, "control": False}
        outcome = harness.run(spec | {"training": training, "balancing": {"method": "fixed"}}, name)
        harness.teacher(outcome, harness.folder / name / "attempt-1", model)


def distill(teacher: str, **changes: Any) -> Json:
    spec = {"kind": "distill", "target": "label", "teachers": [{"model": teacher, "output": "label"}], "student": MLP}
    return {**spec, "training": TRAINING, **changes}


def given(soft: float, labels: float) -> Json:
    """The terms of the recipe with these weights."""
    term = {"method": "kd", "temperature": 2.0, "weight": soft}
    return {"soft_targets": term, "supervised": {"weight": labels}}


def run(harness: EngineHarness, spec: Json, name: str = "job", attempt: int = 1, **changes: Any) -> Report:
    """The report of a job with a cache of its own."""
    return report_of(harness.run(spec, name, attempt, cache_dir=str(harness.folder / f"cache-{name}"), **changes))


def weights(report: Report) -> tuple[float, float]:
    spec = report.spec["distillation"]
    return spec["soft_targets"][0]["weight"], spec["supervised"]["weight"]


@pytest.fixture(scope="module")
def weakly_taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """The job of a weak teacher with so many repeats, which ran once for all tests that look at it, and its report."""

    @cache
    def made(repeats: Any) -> tuple[EngineHarness, Report]:
        harness = EngineHarness(tmp_path_factory.mktemp("weakly-taught"))
        teachers(harness)
        return harness, run(harness, distill(WEAK, repeats=repeats))

    return made


def messages(report: Report) -> list[str]:
    return [each["message"] for each in report.warnings if each["code"] == CODE]


@pytest.mark.parametrize("repeats", sample([1, 2, "auto"], [1, "auto"]))
def test_a_weak_teacher_teaches_with_a_tenth_of_the_weight_whatever_the_number_of_seeds(
    harness: EngineHarness, weakly_taught: Taught, repeats: Any
) -> None:
    """Bit by bit the student and the control of a job that names these weights, whose control is trained beside it."""
    teachers(harness)
    chosen, report = weakly_taught(repeats)
    named = run(harness, distill(WEAK, repeats=repeats, distillation=given(0.1, 0.9)), "named")
    assert weights(report) == (0.1, 0.9)
    for role in ("student", "control"):
        assert chosen.digest("job", role=role) == harness.digest("named", role=role)
    assert report.verdict == named.verdict


@pytest.mark.parametrize("repeats", sample([1, "auto"], [1]))
def test_a_strong_teacher_keeps_its_weight(harness: EngineHarness, repeats: Any) -> None:
    teachers(harness)
    report = run(harness, distill(STRONG, repeats=repeats))
    run(harness, distill(STRONG, repeats=repeats, distillation=given(0.5, 0.5)), "named")
    assert weights(report) == (0.5, 0.5)
    assert not messages(report)
    assert report.chosen[LABELS].value == 0.5
    for role in ("student", "control"):
        assert harness.digest("job", role=role) == harness.digest("named", role=role)


def test_report_and_events_have_the_weights_that_were_used_and_the_figures_they_were_chosen_by(
    harness: EngineHarness,
) -> None:
    teachers(harness)
    report = run(harness, distill(WEAK))
    assert report.chosen[WEIGHTS].value == {"method": "kd", "temperature": 2.0, "weight": 0.1}
    assert report.chosen[LABELS].value == 0.9
    reason = report.chosen[LABELS].because
    assert report.chosen[WEIGHTS].because == reason
    with np.load(harness.outputs() / "predictions-validation.npz") as file:
        labels = file["validation/label/label"]
        teacher, control = (
            float((file[f"validation/label/{party}"].argmax(axis=1) == labels).mean())
            for party in ("teacher", "control")
        )
    assert f"accuracy {teacher:.4g} against {control:.4g} of the control on {len(labels)} validation rows" in reason
    assert len(messages(report)) == 1
    assert reason in messages(report)[0]
    assert "0.1 for soft targets and 0.9 for labels" in messages(report)[0]
    events = harness.log.events
    places = [i for i, event in enumerate(events) if isinstance(event, WarningEvent) and event.code == CODE]
    evaluating = next(i for i, event in enumerate(events) if event == PhaseEvent(phase="evaluating"))
    assert places == [place for place in places if place < evaluating], "before the students, not at the end"
    terms = [np.array(harness.log.series(f"train/label/{name}"), float) for name in ("kd", "supervised")]
    total = np.array(harness.log.series("train/loss"), float)
    np.testing.assert_allclose(total, 0.1 * terms[0] + 0.9 * terms[1], rtol=1e-4)


@pytest.mark.parametrize(
    "distillation",
    [given(0.9, 0.1), {"supervised": {"weight": 0.1}}, {"soft_targets": {"method": "kd", "weight": 0.9}}],
    ids=["both", "labels", "soft-targets"],
)
def test_weights_that_were_given_stay_and_student_and_control_train_at_the_same_time(
    harness: EngineHarness, distillation: Json
) -> None:
    """A side that was left out is the rest of the one that was given. The job warns after training, with advice."""
    teachers(harness)
    report = run(harness, distill(WEAK, distillation=distillation))
    assert weights(report) == (0.9, 0.1)
    assert not (harness.folder / "job" / "checkpoints" / "finished" / "control").exists()
    assert len(messages(report)) == 1
    assert "give its terms less weight" in messages(report)[0]


def test_terms_without_weights_divide_the_weight_of_a_weak_teacher(harness: EngineHarness) -> None:
    teachers(harness)
    terms = {"soft_targets": [{"method": "kd"}, {"method": "kd", "temperature": 1.0}]}
    report = run(harness, distill(WEAK, distillation=terms))
    assert [term["weight"] for term in report.spec["distillation"]["soft_targets"]] == [0.05, 0.05]
    assert [report.chosen[f"{WEIGHTS}/{i}/weight"].value for i in (0, 1)] == [0.05, 0.05]
    assert WEIGHTS not in report.chosen


def test_with_few_labels_a_weak_teacher_gets_less_weight_too(harness: EngineHarness) -> None:
    teachers(harness)
    arrays = rows()
    arrays["label"] = np.where(np.arange(len(arrays["label"])) % 5 < 2, arrays["label"], -1)
    harness.dataset(arrays)
    strong, weak = (run(harness, distill(teacher), teacher[-4:]) for teacher in (STRONG, WEAK))
    assert [weights(each) for each in (strong, weak)] == [(0.9, 0.1), (0.1, 0.9)]


@pytest.mark.parametrize("repeats", sample([1, 2, "auto"], [1, "auto"]))
def test_a_job_that_is_stopped_anywhere_ends_the_same(
    harness: EngineHarness, weakly_taught: Taught, repeats: Any
) -> None:
    """In the controls, between controls and students, and in the students."""
    teachers(harness)
    spec = distill(WEAK, repeats=repeats)
    undisturbed, whole = weakly_taught(repeats)
    attempt = 1
    for polls in (60, STEPS + 5, 40, STEPS - 20, 70):
        try:
            run(harness, spec, "parts", attempt, stop=StopAtStep(polls))
        except Stopped:
            attempt += 1
    assert attempt > 2
    parts = run(harness, spec, "parts", attempt + 1)
    for role in ("student", "control"):
        assert harness.digest("parts", attempt + 1, role) == undisturbed.digest(role=role)
    assert (parts.chosen, parts.spec, parts.warnings) == (whole.chosen, whole.spec, whole.warnings)
    assert parts.verdict == whole.verdict


def test_what_was_decided_once_stays_though_the_controls_say_something_else_later(harness: EngineHarness) -> None:
    teachers(harness)
    with pytest.raises(Stopped):
        run(harness, distill(WEAK), stop=StopAtStep(STEPS + 40))
    path = harness.folder / "job" / "checkpoints" / "seeds.json"
    document = read_document(path)
    assert document is not None
    assert list(document["weaker"]) == ["label"]
    write_document(path, document | {"weaker": {"label": "as it was"}})
    assert run(harness, distill(WEAK), attempt=2).chosen[LABELS].because == "as it was"


def test_a_job_that_an_earlier_version_began_goes_on_as_it_began(harness: EngineHarness) -> None:
    """Its students may be trained already, with the usual weights."""
    teachers(harness)
    with pytest.raises(Stopped):
        run(harness, distill(WEAK), stop=StopAtStep(3))
    path = harness.folder / "job" / "checkpoints" / "warnings.json"
    document = read_document(path)
    assert document is not None
    del document["compares_teachers"]
    write_document(path, document)
    report = run(harness, distill(WEAK), attempt=2)
    assert weights(report) == (0.5, 0.5)
    assert report.chosen[LABELS].value == 0.5


def test_each_task_of_several_has_the_weights_of_its_own_teacher(harness: EngineHarness) -> None:
    teachers(harness)
    taught = (("label", WEAK), ("side", STRONG))
    tasks = [{"name": name, "target": name, "teachers": [{"model": model, "output": name}]} for name, model in taught]
    report = run(harness, {"kind": "multitask", "tasks": tasks, "student": MLP, "training": TRAINING})
    found = [task["distillation"] for task in report.spec["tasks"]]
    assert [each["soft_targets"][0]["weight"] for each in found] == [0.1, 0.5]
    assert [report.chosen[f"/tasks/{i}/distillation/supervised/weight"].value for i in (0, 1)] == [0.9, 0.5]
    assert len(messages(report)) == 1
    assert "`label`" in messages(report)[0]
    assert "`side`" not in messages(report)[0]
    series = {name: np.array(harness.log.series(f"train/{name}"), float) for name in ("loss", *TERMS)}
    expected = sum(weight * series[name] for name, weight in zip(TERMS, (0.1, 0.9, 0.5, 0.5), strict=True))
    np.testing.assert_allclose(series["loss"], expected, rtol=1e-4)


def test_without_labels_of_validation_rows_the_usual_weights_stay(harness: EngineHarness) -> None:
    teachers(harness)
    arrays = rows()
    split = np.array(["train", "validation", "test"])[np.arange(len(arrays["x"])) % 3]
    labels = np.where(split == "validation", -1, arrays["label"])
    harness.dataset(arrays | {"label": labels, "split": split}, splits={"column": "split"})
    report = run(harness, distill(WEAK))
    assert weights(report) == (0.5, 0.5)
    assert not (harness.folder / "job" / "checkpoints" / "finished" / "control").exists()


def test_a_job_without_a_control_and_a_search_keep_the_usual_weights(harness: EngineHarness) -> None:
    teachers(harness)
    assert weights(run(harness, distill(WEAK, control=False), "alone")) == (0.5, 0.5)
    searched = TRAINING | {"learning_rate": {"search": [0.01, 0.02]}}
    report = run(harness, distill(WEAK, training=searched), "searched")
    assert weights(report) == (0.5, 0.5)
    assert "give its terms less weight" in messages(report)[0]


@pytest.mark.parametrize("repeats", sample([1, 2, "auto"], [1, "auto"]))
def test_progress_rises_to_the_steps_of_controls_and_students(weakly_taught: Taught, repeats: Any) -> None:
    harness, _ = weakly_taught(repeats)
    events = [event for event in harness.log.events if isinstance(event, ProgressEvent)]
    percents = [event.percent for event in events]
    assert percents == sorted(percents)
    if repeats != "auto":
        assert events[-1].step == events[-1].steps == 2 * repeats * STEPS
        assert percents[-1] == 100.0


@pytest.mark.parametrize(("repeats", "runs"), [(1, 1), (3, 3)])
def test_a_preflight_counts_controls_that_train_before_the_students(
    harness: EngineHarness, repeats: int, runs: int
) -> None:
    teachers(harness)
    report = preflight(harness, distill(WEAK, repeats=repeats))
    assert report.steps == 2 * repeats * STEPS
    stages = {stage.name: (stage.runs, stage.members) for stage in report.stages}
    assert stages.pop("controls") == (runs, ("control",))
    assert stages.pop("student") == (1, ("student",))
    assert sum(more for more, _ in stages.values()) == repeats - 1


def test_a_cached_control_is_what_a_teacher_is_compared_with(harness: EngineHarness) -> None:
    teachers(harness)
    first = run(harness, distill(WEAK), "first")
    second = report_of(harness.run(distill(WEAK), "second", cache_dir=str(harness.folder / "cache-first")))
    assert second.control is not None
    assert second.control.cached
    assert second.chosen == first.chosen
    assert harness.digest("second") == harness.digest("first")
