"""A teacher without outputs for some rows is evaluated on the others, for every kind of output, with a warning."""

from typing import Any

import numpy as np
import pytest

from app.contracts.reports.report import Report
from tests.engine.harness import Arrays, EngineHarness, report_of
from tests.engine.jobs.preflight.test_preflight import preflight
from tests.engine.jobs.preflight.test_unfit_teachers import PREDICTS, ROWS, arrays, outcome, spec

IN_ORDER = {"fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}, "shuffle": False}
TEST = np.arange(ROWS * 3 // 4, ROWS)
MISSING = TEST[10:25]
KNOWN = np.setdiff1d(TEST, MISSING)
HEADLINE = {"class": "accuracy", "multilabel": "accuracy", "value": "rmse", "vector": "rmse"}


def add(harness: EngineHarness, kind: str, missing: Any = MISSING, **more: Any) -> Arrays:
    """Columns `told` without outputs for the rows `missing`, and `more` columns of the same meaning."""
    found = arrays(kind, labelled=True, fitting=True) | more
    found["told"] = found["told"].astype(np.float64)
    found["told"][missing] = np.nan
    target = {"kind": "class", "classes": 3} if kind == "class" else {"kind": kind}
    columns = {name: {"kind": "teacher", "predicts": PREDICTS[kind]} for name in ("told", *more)}
    harness.dataset(found, targets={"y": target, **columns}, splits=IN_ORDER)
    return found


def expected(kind: str, found: Arrays, rows: Any) -> float:
    """The headline metric of the columns `told` on these rows."""
    told, y = found["told"][rows], found["y"][rows]
    match kind:
        case "class":
            return float((told.argmax(1) == y).mean())
        case "multilabel":
            return float(((told > 0) == (y > 0.5)).mean())
        case _:
            return float(np.sqrt(np.square(told.reshape(y.shape) - y).mean()))


@pytest.mark.parametrize("kind", PREDICTS)
def test_a_teacher_is_measured_on_the_test_rows_that_it_has(harness: EngineHarness, kind: str) -> None:
    found = add(harness, kind)
    assert preflight(harness, spec()).would_fail == ()
    report = report_of(harness.run(spec(), "real"))
    (teacher,) = report.teachers
    metrics = teacher.tasks["y"]
    assert metrics["rows"] == len(KNOWN)
    assert metrics[HEADLINE[kind]] == pytest.approx(expected(kind, found, KNOWN), rel=1e-5)
    assert None not in metrics.values()
    assert report.student.tasks["y"]["rows"] == len(TEST)
    assert report.fidelity["y"].rows == len(KNOWN)
    assert (report.fidelity["y"].rmse if kind in ("value", "vector") else report.fidelity["y"].kl) is not None
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert f"no output for {len(MISSING)} of {len(TEST)} test rows" in told_of_rows(report.warnings)


def told_of_rows(warnings: Any) -> str:
    (message,) = (each["message"] for each in warnings if each["code"] == "teacher_rows_missing")
    return str(message)


def test_the_diagram_and_the_classes_are_those_of_the_rows_that_it_has(harness: EngineHarness) -> None:
    found = add(harness, "class")
    report = report_of(harness.run(spec(), "real"))
    assert sum(each.count for each in report.reliability["y"]["teacher"]) == len(KNOWN)
    assert sum(each.count for each in report.reliability["y"]["student"]) == len(TEST)
    for each in report.per_class["y"]:
        rows = KNOWN[found["y"][KNOWN] == each.index]
        recall = float((found["told"][rows].argmax(1) == each.index).mean())
        assert each.parties["teacher"].recall == pytest.approx(recall)


@pytest.mark.parametrize("kind", PREDICTS)
def test_of_several_teachers_those_that_have_a_row_are_its_mean(harness: EngineHarness, kind: str) -> None:
    """As in training: the weights are those of the teachers that have an output for the row."""
    whole = arrays(kind, labelled=True, fitting=True)["told"]
    add(harness, kind, other=whole)
    both = spec() | {"teachers": [{"columns": "told"}, {"columns": "other"}]}
    report = report_of(harness.run(both, "real"))
    assert [party.tasks["y"]["rows"] for party in report.teachers] == [len(KNOWN), len(TEST)]
    assert report.fidelity["y"].rows == len(TEST)
    with np.load(harness.outputs("real") / "predictions-test.npz") as file:
        mean = file["test/y/teacher"]
    assert np.isfinite(mean).all()


def test_a_teacher_without_any_test_row_has_no_metrics(harness: EngineHarness) -> None:
    add(harness, "class", missing=TEST)
    report = report_of(harness.run(spec(), "real"))
    assert report.teachers[0].tasks["y"] == {}
    assert report.fidelity["y"].rows == 0
    assert f"{len(TEST)} of {len(TEST)} test" in told_of_rows(report.warnings)


@pytest.mark.parametrize("kind", PREDICTS)
def test_one_without_an_output_for_the_labelled_rows_is_told_so(harness: EngineHarness, kind: str) -> None:
    """Trap: the training split has labels, but of other rows."""
    found = arrays(kind, labelled=True, fitting=True)
    y, told = found["y"].astype(np.float64), found["told"].astype(np.float64)
    y[: ROWS // 4] = -1 if kind == "class" else np.nan
    told[ROWS // 4 : ROWS // 2] = np.nan
    target = {"kind": "class", "classes": 3} if kind == "class" else {"kind": kind}
    targets = {"y": target, "told": {"kind": "teacher", "predicts": PREDICTS[kind]}}
    harness.dataset({"x": found["x"], "y": y, "told": told}, targets=targets, splits=IN_ORDER)
    assert outcome(harness, spec())[1] == ["teacher_rows_missing", "teacher_unchecked"]
    report = preflight(harness, spec(), name="again")
    (message,) = (each["message"] for each in report.warnings if each["code"] == "teacher_unchecked")
    assert "none of the 60 training rows that it has an output for has a label" in message
