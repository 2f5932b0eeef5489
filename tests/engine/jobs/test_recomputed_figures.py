"""Every figure of a report on test rows follows from the predictions file, to the rounding of float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score, precision_score, r2_score, recall_score, roc_auc_score

from app.contracts.reports.report import Report
from tests.engine.harness import EngineHarness, report_of
from workers.engine.evaluation.verdict.intervals import RESAMPLES, newcombe_interval

Floats = NDArray[np.float64]
Figures = dict[str, float | None]
ROWS, LABELS, MISSING = 400, 4, 37
CLASSES = 3
TARGETS: dict[str, Any] = {
    "label": {"kind": "class", "classes": CLASSES},
    "traits": {"kind": "multilabel", "size": LABELS},
    "size": {"kind": "value"},
    "place": {"kind": "vector", "size": 2},
    "sure": {"kind": "teacher", "predicts": {"kind": "class", "output": "probabilities"}},
    "cold": {"kind": "teacher", "predicts": {"kind": "class", "output": "energies"}},
    "seen": {"kind": "teacher", "predicts": {"kind": "multilabel", "output": "probabilities"}},
    "sized": {"kind": "teacher", "predicts": {"kind": "value", "mean": 5000.0, "std": 300.0}},
    "placed": {"kind": "teacher", "predicts": {"kind": "vector"}},
}
TEACHERS = {"label": ["sure", "cold"], "traits": ["seen"], "size": ["sized"], "place": ["placed"]}
SPEC: dict[str, Any] = {
    "kind": "multitask",
    "tasks": [
        {"name": task, "teachers": [{"columns": name, "weight": 1.0 + i} for i, name in enumerate(names)]}
        for task, names in TEACHERS.items()
    ],
    "student": {"family": "mlp", "hidden": [8]},
    "training": {"epochs": 4, "learning_rate": 0.02},
    "baselines": True,
}


def arrays() -> dict[str, NDArray[Any]]:
    """Rows with a target of each kind, and what teachers say of each; some labels and outputs are missing."""
    random = np.random.default_rng(3)
    x = random.normal(size=(ROWS, 6)).astype(np.float32)

    def tells(size: int) -> Floats:
        return np.asarray(x @ random.normal(size=(6, size)), dtype=np.float64)

    def noisy(values: Floats) -> Floats:
        return np.asarray(values + 0.5 * random.normal(size=values.shape))

    scores, traits, numbers, place = tells(CLASSES), tells(LABELS), tells(1)[:, 0], tells(2)
    sure = np.exp(noisy(scores))
    found = {
        "label": scores.argmax(1),
        "traits": (traits > 0).astype(np.float32),
        "size": (5000.0 + 300.0 * numbers).astype(np.float32),
        "place": place.astype(np.float32),
        "sure": (sure / sure.sum(1, keepdims=True)).astype(np.float32),
        "cold": -noisy(scores).astype(np.float32),
        "seen": (1.0 / (1.0 + np.exp(-noisy(traits)))).astype(np.float32),
        "sized": noisy(numbers).astype(np.float32),
        "placed": noisy(place).astype(np.float32),
    }
    for name, values in found.items():
        gone = random.permutation(ROWS)[:MISSING]
        values[gone] = -1 if name == "label" else np.nan
    found["traits"][random.random((ROWS, LABELS)) < 0.1] = np.nan
    return {"x": x, **found}


def log_softmax(scores: Floats) -> Floats:
    shifted = scores - scores.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def log_probabilities(values: NDArray[Any], output: str) -> Floats:
    """Log-probabilities of raw class scores, as the report's `output` says what they are."""
    scores = values.astype(np.float64)
    if output == "probabilities":
        scores = np.log(np.maximum(scores, 1e-12))
    return log_softmax(-scores if output == "energies" else scores)


def log_odds(values: NDArray[Any], output: str) -> Floats:
    numbers = values.astype(np.float64)
    if output == "logits":
        return numbers
    numbers = numbers.clip(1e-7, 1.0 - 1e-7)
    return np.asarray(np.log(numbers / (1.0 - numbers)))


def bins(log_p: Floats, labels: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
    """(rows, right ones, confidences) summed by 15 bins of confidence."""
    confidence = np.exp(log_p.max(1)).clip(max=1.0)
    place = (np.digitize(confidence, np.linspace(0.0, 1.0, 16)) - 1).clip(max=14)
    right = (log_p.argmax(1) == labels).astype(np.float64)
    weights = (np.ones_like(right), right, confidence)
    rows, hits, sums = (np.asarray(np.bincount(place, each, 15), dtype=np.float64) for each in weights)
    return rows, hits, sums


def of_classes(values: NDArray[Any], labels: NDArray[Any], output: str) -> Figures:
    log_p, every = log_probabilities(values, output), np.arange(len(labels))
    p, predicted = np.exp(log_p), log_p.argmax(1)
    rows, right, confidence = bins(log_p, labels)
    return {
        "accuracy": (predicted == labels).mean(),
        "nll": -log_p[every, labels].mean(),
        "ece": np.abs(right - confidence).sum() / rows.sum(),
        "brier": ((p - np.eye(CLASSES)[labels]) ** 2).sum(1).mean(),
        "macro_f1": f1_score(labels, predicted, average="macro"),
        "auroc": np.mean([roc_auc_score(labels == c, p[:, c]) for c in range(CLASSES)]),
    }


def of_labels(values: NDArray[Any], labels: NDArray[Any], output: str) -> Figures:
    odds, known = log_odds(values, output), ~np.isnan(labels)
    predicted, truth = odds > 0, labels > 0.5
    columns = [(odds[k, c], predicted[k, c], truth[k, c]) for c, k in enumerate(known.T)]
    return {
        "accuracy": (predicted == truth)[known].mean(),
        "nll": np.logaddexp(0.0, np.where(truth, -odds, odds))[known].mean(),
        "macro_f1": np.mean([f1_score(t, p) for _, p, t in columns]),
        "auroc": np.mean([roc_auc_score(t, odds) for odds, _, t in columns]),
    }


def of_values(values: NDArray[Any], labels: NDArray[Any], output: str) -> Figures:
    predicted, truth = values[:, 0].astype(np.float64), labels.astype(np.float64)
    error = predicted - truth
    rmse = np.sqrt((error**2).mean())
    return {"rmse": rmse, "mae": np.abs(error).mean(), "r2": r2_score(truth, predicted)}


def of_vectors(values: NDArray[Any], labels: NDArray[Any], output: str) -> Figures:
    predicted, truth = values.astype(np.float64), labels.astype(np.float64)
    lengths = np.linalg.norm(predicted, axis=1) * np.linalg.norm(truth, axis=1)
    cosine = ((predicted * truth).sum(1) / lengths).mean()
    return {"rmse": np.sqrt(((predicted - truth) ** 2).mean()), "cosine": cosine}


MEASURES: dict[str, Callable[[NDArray[Any], NDArray[Any], str], Figures]] = {
    "label": of_classes,
    "traits": of_labels,
    "size": of_values,
    "place": of_vectors,
}


class Recomputed:
    """The figures of one report, from its predictions file alone."""

    def __init__(self, file: dict[str, NDArray[Any]], report: Report) -> None:
        self.file = file
        self.report = report

    def column(self, task: str, party: str) -> NDArray[Any]:
        return self.file[f"test/{task}/{party}"]

    def labelled(self, task: str) -> NDArray[np.bool_]:
        labels = self.column(task, "label")
        if labels.dtype.kind == "i":
            return np.asarray(labels >= 0)
        return np.asarray(~np.isnan(labels).all(axis=1) if labels.ndim > 1 else ~np.isnan(labels))

    def metrics(self, task: str, party: str, output: str = "logits") -> Figures:
        values = self.column(task, party)
        rows = self.labelled(task) & ~np.isnan(values).any(axis=1)
        return {**MEASURES[task](values[rows], self.column(task, "label")[rows], output), "rows": float(rows.sum())}

    def fidelity(self, task: str, output: str) -> Figures:
        teacher, student = self.column(task, "teacher"), self.column(task, "student")
        rows = ~np.isnan(teacher).any(axis=1)
        teacher, student = teacher[rows], student[rows]
        found: Figures = {"agreement": None, "kl": None, "rmse": None, "rows": float(rows.sum())}
        if task == "label":
            log_p, log_q = log_probabilities(teacher, output), log_probabilities(student, "logits")
            agreement = (log_p.argmax(1) == log_q.argmax(1)).mean()
            return {**found, "agreement": agreement, "kl": (np.exp(log_p) * (log_p - log_q)).sum(1).mean()}
        if task == "traits":
            a, b = log_odds(teacher, output), log_odds(student, "logits")
            agreement = ((a > 0) == (b > 0)).mean()
            both = sum(
                np.exp(-np.logaddexp(0.0, -s * a)) * (np.logaddexp(0.0, -s * b) - np.logaddexp(0.0, -s * a))
                for s in (1.0, -1.0)
            )
            return {**found, "agreement": agreement, "kl": np.asarray(both).mean()}
        difference = teacher.astype(np.float64) - student.astype(np.float64)
        return {**found, "rmse": np.sqrt((difference**2).mean())}

    def interval(self, task: str, other: str) -> tuple[float, float]:
        """The verdict's interval against `control` or `baseline`."""
        rows = self.labelled(task)
        labels = self.column(task, "label")[rows]
        parties = [self.column(task, party)[rows].astype(np.float64) for party in ("student", other)]
        if task == "label":
            first, second = (torch.from_numpy(each.argmax(1) == labels) for each in parties)
            return newcombe_interval(first, second)
        if task == "traits":
            known = ~np.isnan(labels)
            right = [(((each > 0) == (labels > 0.5)) & known).sum(1) for each in parties]
            means = resampled(np.stack([*right, known.sum(1)]).astype(np.float64))
            return ends((means[0] - means[1]) / means[2])
        truth = labels.reshape(len(labels), -1).astype(np.float64)
        means = np.sqrt(resampled(np.stack([((each - truth) ** 2).mean(1) for each in parties])))
        return ends(means[1] - means[0])


def resampled(columns: Floats) -> Floats:
    """Means [k, resamples] of columns [k, n] over the resamples that a verdict draws."""
    n = columns.shape[1]
    picks = torch.randint(n, (RESAMPLES, n), generator=torch.Generator().manual_seed(20150309)).numpy()
    return np.asarray(columns[:, picks].mean(2))


def ends(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [0.0125, 0.9875])
    return float(low), float(high)


def equal(found: Any, expected: Any, what: str) -> None:
    if isinstance(expected, dict):
        assert {name for name, each in found.items() if each is None} == {
            name for name, each in expected.items() if each is None
        }, what
        found, expected = ({name: each for name, each in of.items() if each is not None} for of in (found, expected))
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-13), what


@pytest.fixture(scope="module")
def recomputed(tmp_path_factory: pytest.TempPathFactory) -> Recomputed:
    harness = EngineHarness(tmp_path_factory.mktemp("figures"))
    splits = {"fractions": {"train": 0.4, "validation": 0.1, "test": 0.5}}
    harness.dataset(arrays(), targets=TARGETS, splits=splits)
    report = report_of(harness.run(SPEC))
    with np.load(harness.outputs() / "predictions-test.npz") as file:
        return Recomputed(dict(file), report)


@pytest.mark.parametrize("task", TEACHERS)
def test_metrics_of_every_party_follow_from_the_predictions(recomputed: Recomputed, task: str) -> None:
    report = recomputed.report
    assert report.control is not None
    assert report.baselines is not None
    equal(report.student.tasks[task], recomputed.metrics(task, "student"), "student")
    equal(report.control.tasks[task], recomputed.metrics(task, "control"), "control")
    equal(report.baselines.tasks[task].quality, recomputed.metrics(task, "baseline"), "baseline")
    teachers = [party for party in report.teachers if party.task == task]
    columns = ["teacher"] if len(teachers) == 1 else [f"teacher-{i}" for i in range(len(teachers))]
    for party, column in zip(teachers, columns, strict=True):
        equal(party.tasks[task], recomputed.metrics(task, column, party.output or ""), column)


@pytest.mark.parametrize("task", TEACHERS)
def test_fidelity_follows_from_the_predictions(recomputed: Recomputed, task: str) -> None:
    output = {"label": "log_probabilities", "traits": "probabilities"}.get(task, "")
    equal(recomputed.report.fidelity[task].model_dump(), recomputed.fidelity(task, output), task)


@pytest.mark.parametrize("task", TEACHERS)
def test_verdicts_follow_from_the_predictions(recomputed: Recomputed, task: str) -> None:
    report = recomputed.report
    assert report.baselines is not None
    against = report.baselines.tasks[task]
    for verdict, reference, other in (
        (report.verdict[task], report.verdict[task].control, "control"),
        (against, against.baseline, "baseline"),
    ):
        name = "accuracy" if task in ("label", "traits") else "rmse"
        student, control = (recomputed.metrics(task, party)[name] for party in ("student", other))
        assert student is not None
        assert control is not None
        equal((verdict.student, reference), (student, control), other)
        equal(verdict.difference, student - control if name == "accuracy" else control - student, other)
        equal(verdict.interval, recomputed.interval(task, other), other)
    for metric, each in against.metrics.items():
        figures = [recomputed.metrics(task, party)[metric] for party in ("student", "baseline")]
        student, baseline = (figure for figure in figures if figure is not None)
        sign = -1.0 if metric == "rmse" else 1.0
        equal(each.delta_m, 100.0 * sign * (student - baseline) / baseline, metric)


@pytest.mark.parametrize("party", ["teacher", "student", "control"])
def test_figures_by_class_and_calibration_follow_from_the_predictions(recomputed: Recomputed, party: str) -> None:
    values = recomputed.column("label", party)
    rows = recomputed.labelled("label") & ~np.isnan(values).any(axis=1)
    labels, log_p = recomputed.column("label", "label")[rows], log_probabilities(values[rows], "logits")
    predicted = log_p.argmax(1)
    for each in recomputed.report.per_class["label"]:
        figures = each.parties[party]
        truth, found = labels == each.index, predicted == each.index
        scores = [score(truth, found, zero_division=np.nan) for score in (recall_score, precision_score, f1_score)]
        equal((figures.recall, figures.precision, figures.f1), tuple(scores), party)
    counts, right, confidence = bins(log_p, labels)
    diagram = recomputed.report.reliability["label"][party]
    equal([each.count for each in diagram], counts.tolist(), party)
    for i in np.flatnonzero(counts):
        equal((diagram[i].accuracy, diagram[i].confidence), (right[i] / counts[i], confidence[i] / counts[i]), party)
