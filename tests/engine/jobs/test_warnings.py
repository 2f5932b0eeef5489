"""Every warning about a training in whole jobs: one where it must come, and three or more where it must not.

The jobs are small, and each is looked at for several warnings. `test_scales` and `test_sizes` have those of inputs and
of the dry run.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from app.contracts.reports.report import Report
from tests.engine.harness import TEACHER, EngineHarness, StopAtStep, blobs, report_of
from workers.engine.common.stop import Stopped
from workers.engine.evaluation.warnings.constant import highest_of_chance

Spec = dict[str, Any]
ROWS = 1200
SPLITS: Spec = {"fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}}
MLP: Spec = {"family": "mlp", "hidden": [8]}
WIDE: Spec = {"family": "mlp", "hidden": [128]}
LONG: Spec = {"steps": 800, "learning_rate": 0.02, "schedule": "cosine", "warmup": 80, "evaluate_every": 4}
MIDDLE: Spec = {"steps": 300, "learning_rate": 0.02, "schedule": "cosine", "warmup": 30, "evaluate_every": 3}
SHORT: Spec = {"epochs": 10, "learning_rate": 0.001}


def hard_blobs(rows: int = ROWS) -> dict[str, Any]:
    """Classes that overlap, values and labels with noise; coins that nothing tells; a rare class."""
    draw = np.random.default_rng(3)
    arrays = blobs(rows)
    x = arrays["x"] + 1.5 * draw.normal(size=arrays["x"].shape)
    noise = draw.normal(size=rows) * 10.0
    coin, chance = draw.integers(0, 3, rows), draw.normal(size=rows)
    rare = x[:, 0] + 0.5 * draw.normal(size=rows) > np.quantile(x[:, 0], 0.94)
    tags = np.c_[x[:, 1] + draw.normal(size=rows) > 0, x[:, 2] + draw.normal(size=rows) > 1]
    return {
        "x": x.astype(np.float32),
        "label": arrays["label"],
        "size": (arrays["size"] + noise).astype(np.float32),
        "coin": coin,
        "chance": chance.astype(np.float32),
        "rare": rare.astype(np.int64),
        "tags": tags.astype(np.float32),
    }


TARGETS: Spec = {
    "label": {"kind": "class", "classes": 3},
    "size": {"kind": "value"},
    "coin": {"kind": "class", "classes": 3},
    "chance": {"kind": "value"},
    "rare": {"kind": "class", "classes": 2},
    "tags": {"kind": "multilabel"},
}


def dataset(harness: EngineHarness, rows: int = ROWS, **splits: float) -> None:
    fractions = {"fractions": splits} if splits else SPLITS
    harness.dataset(hard_blobs(rows), targets=TARGETS, splits=fractions)


def train(target: str, training: Spec, model: Spec = MLP) -> Spec:
    return {"kind": "train", "target": target, "model": model, "training": training}


def distill(training: Spec, **changes: Any) -> Spec:
    kind = {"kind": "distill", "target": "label", "teachers": [{"model": TEACHER}], "student": MLP}
    return {**kind, "training": training, **changes}


def taught(harness: EngineHarness, training: Spec, model: Spec = MLP) -> None:
    dataset(harness)
    outcome = harness.run(train("label", training, model), "teacher")
    harness.teacher(outcome, harness.folder / "teacher" / "attempt-1")


def _starved(harness: EngineHarness) -> Spec:
    dataset(harness)
    return train("label", SHORT)


def _settled(harness: EngineHarness) -> Spec:
    dataset(harness)
    return train("label", LONG)


def _memorised(harness: EngineHarness) -> Spec:
    dataset(harness, 400)
    return train("label", {"steps": 800, "learning_rate": 0.02, "evaluate_every": 8}, WIDE)


def _coin(harness: EngineHarness) -> Spec:
    dataset(harness)
    return train("coin", {"steps": 200, "learning_rate": 0.01})


def _chance(harness: EngineHarness) -> Spec:
    dataset(harness)
    return train("chance", {"steps": 200, "learning_rate": 0.01})


def _value(harness: EngineHarness) -> Spec:
    dataset(harness)
    return train("size", LONG)


def _tags(harness: EngineHarness) -> Spec:
    dataset(harness)
    return train("tags", MIDDLE)


def _rare(harness: EngineHarness) -> Spec:
    """A bias towards the common class: it never predicts the other one and ranks both."""
    dataset(harness)
    return train("rare", {"epochs": 40, "learning_rate": 0.001, "select_by": "auroc"})


def _weakly_taught(harness: EngineHarness) -> Spec:
    taught(harness, {"epochs": 2, "learning_rate": 0.002})
    return distill(MIDDLE)


def _well_taught(harness: EngineHarness) -> Spec:
    taught(harness, MIDDLE, {"family": "mlp", "hidden": [16]})
    return distill(SHORT)


def _taught_by_its_equal(harness: EngineHarness) -> Spec:
    """The control is the teacher, bit by bit."""
    taught(harness, SHORT)
    return distill(SHORT)


def _weakly_taught_without_a_control(harness: EngineHarness) -> Spec:
    taught(harness, {"epochs": 2, "learning_rate": 0.002})
    return distill({"epochs": 1}, control=False)


def _few_validation_rows(harness: EngineHarness) -> Spec:
    dataset(harness, 400, train=0.8, validation=0.1, test=0.1)
    return train("label", {"epochs": 10, "learning_rate": 0.01})


def _few_rows_of_values(harness: EngineHarness) -> Spec:
    dataset(harness, 400, train=0.8, validation=0.1, test=0.1)
    return train("size", {"epochs": 10, "learning_rate": 0.01})


def _few_rows_by_loss(harness: EngineHarness) -> Spec:
    dataset(harness, 400, train=0.8, validation=0.1, test=0.1)
    return train("label", {"epochs": 10, "learning_rate": 0.01, "select_by": "loss"})


def _no_validation(harness: EngineHarness) -> Spec:
    dataset(harness, 400, train=0.8, test=0.2)
    return train("label", {"epochs": 10, "learning_rate": 0.01})


JOBS: dict[str, Callable[[EngineHarness], Spec]] = {
    name.removeprefix("_"): make for name, make in list(globals().items()) if name.startswith("_") and callable(make)
}
IMPROVING, FITTED, CONSTANT = "still_improving", "overfitting", "no_better_than_constant"
WEAK, SMALL = "teacher_weaker_than_control", "validation_too_small"
TABLE: dict[str, dict[str, bool]] = {
    IMPROVING: {"starved": True, "settled": False, "value": False, "memorised": False, "coin": False},
    FITTED: {"memorised": True, "settled": False, "starved": False, "value": False, "no_validation": False},
    CONSTANT: {"coin": True, "chance": True, "settled": False, "value": False, "tags": False, "rare": False},
    WEAK: {
        "weakly_taught": True,
        "well_taught": False,
        "taught_by_its_equal": False,
        "weakly_taught_without_a_control": False,
    },
    SMALL: {
        "few_validation_rows": True,
        "settled": False,
        "few_rows_of_values": False,
        "few_rows_by_loss": False,
        "no_validation": False,
    },
    "few_steps": {"starved": True, "settled": False, "value": False, "memorised": False},
}


@pytest.fixture(scope="module")
def report_named(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Report]:
    """The report of a job, which is run when it is first asked for."""

    @cache
    def report(name: str) -> Report:
        harness = EngineHarness(tmp_path_factory.mktemp(name))
        made = report_of(harness.run(JOBS[name](harness)))
        assert [each["code"] for each in made.warnings] == harness.log.warnings
        return made

    return report


@pytest.mark.parametrize(("code", "name"), [(code, name) for code, names in TABLE.items() for name in names])
def test_a_warning_comes_where_it_must_and_nowhere_else(
    code: str, name: str, report_named: Callable[[str], Report]
) -> None:
    codes = [each["code"] for each in report_named(name).warnings]
    assert codes.count(code) == int(TABLE[code][name]), codes


def test_a_party_that_ranks_a_rare_class_is_exempt_though_its_accuracy_is_that_of_a_constant(
    report_named: Callable[[str], Report],
) -> None:
    report = report_named("rare")
    measured, labels = report.student.tasks["rare"], report.per_class["rare"]
    rows = sum(each.support for each in labels)
    limit = highest_of_chance(max(each.support for each in labels) / rows, rows)
    assert (measured["accuracy"] or 0.0) <= limit < 1.0
    assert (measured["auroc"] or 0.0) > 0.7


def test_a_resumed_job_says_what_an_uninterrupted_one_says(harness: EngineHarness) -> None:
    """Its evaluations before the stop are kept, bit by bit: the messages have figures of them."""
    spec = _starved(harness)
    whole = report_of(harness.run(spec, "whole"))
    for attempt, polls in ((1, 40), (2, 30)):
        with pytest.raises(Stopped):
            harness.run(spec, "parts", attempt, StopAtStep(polls))
    parts = report_of(harness.run(spec, "parts", 3))
    assert IMPROVING in {each["code"] for each in whole.warnings}
    assert parts.warnings == whole.warnings


def test_a_cached_control_is_judged_by_its_evaluations(harness: EngineHarness) -> None:
    spec = _taught_by_its_equal(harness)
    reports = [report_of(harness.run(spec, job)) for job in ("first", "second")]
    assert [each.control.cached for each in reports if each.control is not None] == [False, True]
    messages = [{w["code"]: w["message"] for w in each.warnings}[IMPROVING] for each in reports]
    assert messages[0] == messages[1]
    assert "of the student and the control was lowest at the end" in messages[0]


def test_every_warning_of_a_job_has_three_jobs_without_it() -> None:
    assert all(sum(not told for told in jobs.values()) >= 3 for jobs in TABLE.values())
    assert all(any(jobs.values()) for jobs in TABLE.values())
