"""Single-task baselines of multi-task jobs: what they are, that none is trained twice, and the report of them."""

from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from app.contracts.reports.baselines import BaselineReport
from app.contracts.reports.document.text import render
from app.contracts.wire.events import CheckpointEvent, ProgressEvent
from app.contracts.wire.orders import TrainingOutcome
from tests.engine.harness import STUDENT, TEACHER, Arrays, EngineHarness, StopAtStep, blobs, report_of
from tests.engine.jobs.interrupted_jobs import points
from tests.engine.jobs.preflight.test_preflight import preflight
from workers.engine.common.stop import Stopped

Json = dict[str, Any]
TRAINING: Json = {"epochs": 2, "batch_size": 32, "learning_rate": 0.02}
STEPS = 12
"""168 rows of the training split in batches of 32, twice."""
POLLS = 3
"""Before the first step: on entering loading, teaching and training."""
TASKS: list[Json] = [{"name": "label"}, {"name": "size"}, {"name": "side"}]
SPEC: Json = {"kind": "multitask", "tasks": TASKS, "student": STUDENT, "training": TRAINING, "baselines": True}


def compared(outcome: TrainingOutcome) -> BaselineReport:
    found = report_of(outcome).baselines
    assert found is not None
    return found


def trained(harness: EngineHarness) -> set[str]:
    """The tasks whose baseline took a step in the last run."""
    series = {series for series, *_ in points(harness) if "baseline-" in series}
    return {name.split("/")[0].partition("baseline-")[2] for name in series}


def outputs_of(
    harness: EngineHarness, task: str, party: str, job: str = "job", attempt: int = 1
) -> np.ndarray[Any, Any]:
    with np.load(harness.outputs(job, attempt) / "predictions-test.npz") as found:
        return np.asarray(found[f"test/{task}/{party}"])


def alone(harness: EngineHarness, target: str, job: str, **training: Any) -> np.ndarray[Any, Any]:
    """What a `train` job of one target predicts; its student is the baseline."""
    spec = {"kind": "train", "target": target, "model": STUDENT, "training": {**TRAINING, **training}}
    harness.run(spec, job)
    return outputs_of(harness, target, "student", job)


def with_missing(target: str, count: int = 100) -> Arrays:
    """The usual data, `count` rows of one target without a label."""
    arrays = blobs()
    arrays[target][np.random.default_rng(3).permutation(len(arrays["x"]))[:count]] = -1
    return arrays


# What a baseline is.


@pytest.mark.parametrize("student", [STUDENT, {"family": "mlp", "hidden": [8], "dropout": 0.3}])
def test_a_baseline_has_the_bits_of_a_train_jobs_student(harness: EngineHarness, student: Json) -> None:
    harness.dataset()
    harness.run(SPEC | {"student": student}, "together")
    for task in ("label", "size", "side"):
        spec = {"kind": "train", "target": task, "model": student, "training": TRAINING}
        harness.run(spec, task)
        np.testing.assert_array_equal(
            outputs_of(harness, task, "baseline", "together"), outputs_of(harness, task, "student", task)
        )


def test_a_baselines_weights_in_the_cache_are_those_of_a_train_job(harness: EngineHarness) -> None:
    harness.dataset()
    harness.run({**SPEC, "tasks": [{"name": "label"}]}, "together")
    alone(harness, "label", "alone")
    (entry,) = (harness.folder / "cache" / "controls").glob("*/weights.safetensors")
    kept, own = load_file(entry), harness.weights("alone")
    assert kept.keys() == own.keys()
    assert all(kept[name].equal(own[name]) for name in own)


def test_a_baseline_goes_through_the_labelled_rows_alone_for_the_students_steps(harness: EngineHarness) -> None:
    """Its epochs are shorter: 12 steps are more than two of them."""
    harness.dataset(with_missing("side"))
    report = compared(harness.run(SPEC, "together"))
    assert {task.steps for task in report.tasks.values()} == {STEPS}
    own = alone(harness, "side", "alone", steps=STEPS, epochs=None)
    np.testing.assert_array_equal(outputs_of(harness, "side", "baseline", "together"), own)
    epochs = {epoch for series, _, epoch, _ in points(harness) if series.startswith("validation/")}
    assert max(epochs) > 2


def test_a_baseline_ignores_weights_teachers_and_the_controls_smoothing(harness: EngineHarness) -> None:
    harness.dataset()
    own = alone(harness, "label", "alone")
    harness.teacher(
        harness.run({**SPEC, "baselines": False, "training": {**TRAINING, "seed": 9}}, "t"),
        harness.folder / "t" / "attempt-1",
    )
    tasks = [{"name": "label", "weight": 0.0, "teachers": [{"model": TEACHER}]}, {"name": "side", "weight": 3.0}]
    harness.run({**SPEC, "tasks": tasks, "control": {"label_smoothing": 0.2}}, "together")
    np.testing.assert_array_equal(outputs_of(harness, "label", "baseline", "together"), own)


def test_with_repeats_each_seed_has_its_baselines(harness: EngineHarness) -> None:
    harness.dataset()
    report = compared(harness.run({**SPEC, "repeats": 3}, "three"))
    assert trained(harness) == {"label", "size", "side"}
    task = report.tasks["label"]
    assert (task.repeats, len(task.students), len(task.baselines)) == (3, 3, 3)
    assert "Welch" in task.method
    assert "3 baselines" in task.method
    for seed in range(3):
        spec = {"kind": "train", "target": "label", "model": STUDENT, "training": {**TRAINING, "seed": seed}}
        single = report_of(harness.run(spec, f"seed-{seed}"))
        assert task.baselines[seed] == pytest.approx(single.student.tasks["label"]["accuracy"])
    assert task.metrics["accuracy"].baseline == pytest.approx(sum(task.baselines) / 3)
    with np.load(harness.outputs("three") / "predictions-test.npz") as file:
        labels, by_seed = file["test/label/label"], file["test/label/baselines"]
        np.testing.assert_array_equal(file["test/label/baseline"], by_seed[:, 0])
    assert task.baselines == pytest.approx((by_seed.argmax(axis=2) == labels[:, None]).mean(axis=0))


def test_the_winner_of_a_search_gives_the_baselines_its_rate(harness: EngineHarness) -> None:
    harness.dataset()
    searched = {**TRAINING, "learning_rate": {"search": [0.0001, 0.02]}}
    report = report_of(harness.run({**SPEC, "training": searched}, "searched"))
    assert report.search is not None
    assert report.search.chosen == 1
    np.testing.assert_array_equal(
        outputs_of(harness, "label", "baseline", "searched"), alone(harness, "label", "alone")
    )
    steps = [event.percent for event in harness.log.events if isinstance(event, ProgressEvent)]
    assert steps == sorted(steps)


# None is trained twice.


def test_a_second_job_with_other_tasks_and_balancing_finds_the_baselines(harness: EngineHarness) -> None:
    harness.dataset()
    first = compared(harness.run(SPEC, "first"))
    assert trained(harness) == {"label", "size", "side"}
    assert not any(task.cached for task in first.tasks.values())
    other = {
        **SPEC,
        "tasks": [{"name": "which", "target": "label"}, {"name": "size"}],
        "balancing": {"method": "pcgrad"},
    }
    second = compared(harness.run(other, "second"))
    assert trained(harness) == set()
    assert all(task.cached and task.steps == STEPS for task in second.tasks.values())
    progress = [event for event in harness.log.events if isinstance(event, ProgressEvent)]
    assert (progress[-1].percent, progress[-1].steps) == (100.0, 3 * STEPS), "steps of an earlier job count as done"
    assert second.tasks["which"].baseline == first.tasks["label"].baseline
    np.testing.assert_array_equal(
        outputs_of(harness, "which", "baseline", "second"), outputs_of(harness, "label", "baseline", "first")
    )


def test_a_baseline_depends_on_its_own_target_and_not_on_other_columns(harness: EngineHarness) -> None:
    harness.dataset()
    harness.run(SPEC, "first")
    harness.dataset(with_missing("side"))
    harness.run(SPEC, "second")
    assert trained(harness) == {"side"}, "labels of `side` differ: the other baselines are the same"


def test_labels_of_the_test_split_change_no_baseline_and_those_of_the_training_split_do(harness: EngineHarness) -> None:
    arrays = blobs()
    split = np.array(["train", "validation", "test"])[np.arange(len(arrays["x"])) % 3]
    harness.dataset({**arrays, "split": split}, splits={"column": "split"})
    harness.run(SPEC, "first")
    for place, expected in ((2, set()), (0, {"label"})):
        arrays["label"][place] = (arrays["label"][place] + 1) % 3
        harness.dataset({**arrays, "split": split}, splits={"column": "split"})
        harness.run(SPEC, f"changed-{place}")
        assert trained(harness) == expected


@pytest.mark.parametrize(
    "change", [{"training": {**TRAINING, "seed": 1}}, {"student": {"family": "mlp", "hidden": [9]}}]
)
def test_another_seed_or_trunk_is_another_baseline(harness: EngineHarness, change: Json) -> None:
    harness.dataset()
    harness.run(SPEC, "first")
    harness.run({**SPEC, **change}, "second")
    assert trained(harness) == {"label", "size", "side"}


@pytest.mark.parametrize("done", [STEPS + 3, 2 * STEPS + 3, 3 * STEPS + 11])
def test_a_job_that_was_interrupted_trains_no_baseline_twice_and_ends_the_same(
    harness: EngineHarness, done: int
) -> None:
    """Stopped within the first, second and third baseline, without a cache that others fill."""
    harness.dataset()
    own = str(harness.folder / "own-cache")
    whole = compared(harness.run(SPEC, "whole"))
    with pytest.raises(Stopped):
        harness.run(SPEC, "broken", stop=StopAtStep(POLLS + done), cache_dir=own)
    last = harness.log.checkpoints[-1]
    current = ("label", "size", "side")[done // STEPS - 1]
    assert last.step == done
    assert last.name.startswith(f"baseline-{current}/")
    broken = compared(harness.run(SPEC, "broken", attempt=2, cache_dir=own))
    assert trained(harness) == set(("label", "size", "side")[done // STEPS - 1 :]), "the finished ones rest"
    steps = [step for series, step, *_ in points(harness) if series.startswith(f"baseline-{current}/control/train")]
    assert min(steps) > done % STEPS, "it goes on where it was stopped"
    assert broken == whole
    for task in ("label", "size", "side"):
        np.testing.assert_array_equal(
            outputs_of(harness, task, "baseline", "broken", 2), outputs_of(harness, task, "baseline", "whole")
        )


def test_a_job_can_be_cancelled_between_two_baselines(harness: EngineHarness) -> None:
    harness.dataset()
    with pytest.raises(Stopped) as stopped:
        harness.run(SPEC, stop=StopAtStep(POLLS + 2 * STEPS, "cancel"))
    assert stopped.value.reason == "cancel"
    assert trained(harness) == {"label"}


def test_steps_are_counted_through_and_end_at_the_whole(harness: EngineHarness) -> None:
    harness.dataset(with_missing("side"))
    harness.run({**SPEC, "repeats": 2}, checkpoint_seconds=0.0)
    steps = [event.step for event in harness.log.events if isinstance(event, CheckpointEvent)]
    assert steps == sorted(set(steps))
    progress = [event for event in harness.log.events if isinstance(event, ProgressEvent)]
    assert [event.percent for event in progress] == sorted(event.percent for event in progress)
    assert (progress[-1].percent, progress[-1].step, progress[-1].steps) == (100.0, 8 * STEPS, 8 * STEPS)


# The report.


def test_the_report_has_metrics_parameters_and_delta_m_of_every_task(harness: EngineHarness) -> None:
    harness.dataset()
    outcome = harness.run(SPEC)
    report, found = report_of(outcome), compared(outcome)
    for name, metric, sign in (("label", "accuracy", 1), ("side", "accuracy", 1), ("size", "rmse", -1)):
        task = found.tasks[name]
        student, baseline = report.student.tasks[name][metric], task.quality[metric]
        assert student is not None
        assert baseline is not None
        assert task.delta_m == pytest.approx(100 * sign * (student - baseline) / baseline)
        assert task.difference == pytest.approx(sign * (student - baseline))
        assert (task.metric, task.reason) == (metric, None)
        assert task.verdict != "not_applicable"
    assert found.tasks["label"].parameters == 6 * 8 + 8 + 8 * 3 + 3
    each = [task.delta_m for task in found.tasks.values() if task.delta_m is not None]
    assert found.delta_m == pytest.approx(sum(each) / 3)
    assert "against single-task baselines" in render(report.model_dump(mode="json"))


def test_a_task_without_labels_has_no_baseline_and_is_not_applicable(harness: EngineHarness) -> None:
    harness.dataset()
    train = {"kind": "train", "target": "label", "model": STUDENT, "training": TRAINING}
    harness.teacher(harness.run(train, "teacher"), harness.folder / "teacher" / "attempt-1")
    harness.dataset(targets={"side": {"kind": "class", "classes": 2}})
    tasks = [{"name": "side"}, {"name": "label", "teachers": [{"model": TEACHER}]}]
    found = compared(harness.run({**SPEC, "tasks": tasks}))
    task = found.tasks["label"]
    assert (task.verdict, task.delta_m, task.baseline, task.parameters) == ("not_applicable", None, None, None)
    assert task.reason is not None
    assert "no labels" in task.reason
    assert found.delta_m == found.tasks["side"].delta_m
    assert found.reason == "without `label`"
    progress = [event for event in harness.log.events if isinstance(event, ProgressEvent)]
    assert (progress[-1].percent, progress[-1].steps) == (100.0, 2 * STEPS)


def test_without_a_test_split_nothing_is_compared(harness: EngineHarness) -> None:
    harness.dataset(splits={"fractions": {"train": 0.8, "validation": 0.2}})
    found = compared(harness.run(SPEC))
    assert {task.verdict for task in found.tasks.values()} == {"not_applicable"}
    assert found.delta_m is None


def test_a_job_that_asks_for_none_has_none(harness: EngineHarness) -> None:
    harness.dataset()
    assert report_of(harness.run({**SPEC, "baselines": False})).baselines is None
    assert trained(harness) == set()


# What a preflight says of them.


def test_a_preflight_counts_the_baselines_stages(harness: EngineHarness) -> None:
    """`side` has fewer labelled rows, hence more epochs in as many steps; the steps are rehearsed once."""
    harness.dataset(with_missing("side"))
    spec = {**SPEC, "repeats": 2}
    report = preflight(harness, spec)
    assert [(stage.name, stage.runs, stage.steps) for stage in report.stages] == [
        ("student", 1, STEPS),
        ("repeats", 1, STEPS),
        ("baselines", 2, STEPS),
        ("baselines", 2, STEPS),
        ("baselines", 2, STEPS),
    ]
    label, size, side = report.stages[2:]
    assert label.step_seconds == size.step_seconds == side.step_seconds
    assert side.seconds > label.seconds == size.seconds
    assert report.seconds.training == pytest.approx(sum(stage.seconds for stage in report.stages))
    harness.run(spec)
    progress = [event for event in harness.log.events if isinstance(event, ProgressEvent)]
    assert report.steps == progress[-1].steps
