"""Class, multilabel, value and vector targets in one job, each with a third of its labels missing; real digits too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from app.contracts.reports.report import Report
from app.contracts.resources.manifests import ValueOutput, VectorOutput
from app.contracts.wire.orders import TrainingOutcome
from tests.engine.harness import DATASET, OTHER, Arrays, EngineHarness, blobs, report_of

TARGETS: dict[str, Any] = {
    "label": {"kind": "class", "classes": 3},
    "traits": {"kind": "multilabel", "size": 4},
    "size": {"kind": "value"},
    "place": {"kind": "vector", "size": 2},
}
KINDS = list(TARGETS)
SPLIT: dict[str, Any] = {"splits": {"fractions": {"train": 0.6, "validation": 0.1, "test": 0.3}}}


def without_a_third(values: NDArray[Any], seed: int) -> NDArray[Any]:
    """The same with a third of the labels missing, at random."""
    gone = np.random.default_rng(1000 + seed).permutation(len(values))[: len(values) // 3]
    found = values.copy()
    found[gone] = -1 if values.dtype.kind == "i" else np.nan
    return found


def rows_of_four_kinds(rows: int = 600, first: int = 0) -> Arrays:
    """Eight numbers, and of each kind a target that they tell; values are far from 0 and wide."""
    random = np.random.default_rng(7)
    x = random.normal(size=(rows + first, 8)).astype(np.float32)[first:]
    ways = {name: random.normal(size=(8, size)) for name, size in {"label": 3, "traits": 4, "place": 2}.items()}
    return {
        "x": x,
        "label": without_a_third((x @ ways["label"]).argmax(1), first),
        "traits": without_a_third((x @ ways["traits"] > 0).astype(np.float32), first + 1),
        "size": without_a_third((5000.0 + 300.0 * x[:, 0] - 200.0 * x[:, 3]).astype(np.float32), first + 2),
        "place": without_a_third((3.0 * x @ ways["place"]).astype(np.float32), first + 3),
    }


def spec(names: list[str], **changes: Any) -> dict[str, Any]:
    return {
        "kind": "multitask",
        "tasks": [{"name": name} for name in names],
        "student": {"family": "mlp", "hidden": [32]},
        "training": {"epochs": 40, "batch_size": 32, "learning_rate": 0.01},
        **changes,
    }


def four_kinds(harness: EngineHarness, case: str) -> TrainingOutcome:
    """All four in one dataset; or the classes and labels in one, the numbers in another."""
    arrays = rows_of_four_kinds()
    if case == "one":
        harness.dataset(arrays, targets=TARGETS, **SPLIT)
        return harness.run(spec(KINDS))
    harness.dataset(arrays, targets={name: TARGETS[name] for name in KINDS[:2]}, **SPLIT)
    second = rows_of_four_kinds(rows=300, first=600)
    harness.another(second, targets={name: TARGETS[name] for name in KINDS[2:]}, **SPLIT)
    return harness.run(spec(KINDS, datasets=[{"dataset": DATASET}, {"dataset": OTHER}]))


@pytest.mark.parametrize("case", ["one", "two"])
def test_four_kinds_of_target_with_a_third_of_the_labels_missing_are_learned_together(
    harness: EngineHarness, case: str
) -> None:
    outcome = four_kinds(harness, case)
    report = report_of(outcome)
    tasks = report.student.tasks
    labelled = figures(report, "rows")
    with np.load(harness.outputs() / "predictions-test.npz") as found:
        label, student = found["test/label/label"], found["test/label/student"]
        known = label >= 0
        assert tasks["label"]["accuracy"] == pytest.approx(float((student.argmax(1) == label)[known].mean()))
        assert labelled["label"] == known.sum()
        size, predicted = found["test/size/label"], found["test/size/student"][:, 0]
        known = ~np.isnan(size)
        errors = (predicted - size)[known]
        assert tasks["size"]["rmse"] == pytest.approx(float(np.sqrt((errors**2).mean())), rel=1e-4), "in its own units"
        assert labelled["size"] == known.sum()
        place = found["test/place/label"]
        known = ~np.isnan(place).any(1)
        errors = (found["test/place/student"] - place)[known]
        assert tasks["place"]["rmse"] == pytest.approx(float(np.sqrt((errors**2).mean())), rel=1e-4)
        assert (~np.isnan(found["test/traits/label"]).all(1)).sum() == labelled["traits"]
    scale, place_scale = (outcome.student.outputs[name].spec for name in ("size", "place"))
    assert isinstance(scale, ValueOutput)
    assert isinstance(place_scale, VectorOutput)
    assert place_scale.std is not None, "vectors are standardised inside, number by number"
    assert scale.mean == pytest.approx(5000.0, abs=60.0)
    assert scale.std == pytest.approx(360.0, rel=0.15)
    quality = {"label": "accuracy", "traits": "accuracy", "size": "r2", "place": "cosine"}
    assert all((tasks[name].get(metric) or 0.0) > 0.8 for name, metric in quality.items()), tasks


def figures(report: Report, metric: str) -> dict[str, float]:
    found = {name: metrics[metric] for name, metrics in report.student.tasks.items()}
    return {name: value for name, value in found.items() if value is not None}


def test_missing_labels_are_spread_and_no_task_is_counted_on_another_ones_rows(harness: EngineHarness) -> None:
    """Each task is measured on its own labelled rows: a third fewer than there are, another third for each."""
    report = report_of(four_kinds(harness, "one"))
    counted = figures(report, "rows")
    assert all(95 <= rows <= 145 for rows in counted.values()), counted
    assert len(set(counted.values())) > 1


# Real data


@pytest.fixture(scope="module")
def digits() -> Arrays:
    """scikit-learn's 1797 digits: which one, odd or even, how much ink; a third of the labels missing in each task."""
    found = load_digits()
    pictures = found.images.astype(np.float32)
    return {
        "x": pictures,
        "digit": without_a_third(found.target.astype(np.int64), 1),
        "parity": without_a_third((found.target % 2).astype(np.int64), 2),
        "ink": without_a_third(pictures.sum((1, 2)), 3),
    }


DIGITS: dict[str, Any] = {
    "inputs": {"x": {"kind": "array", "shape": [1, 8, 8], "scale": 0.0625}},
    "targets": {
        "digit": {"kind": "class", "classes": 10},
        "parity": {"kind": "class", "classes": 2},
        "ink": {"kind": "value"},
    },
}


@pytest.mark.parametrize("method", ["fixed", "pcgrad"])
def test_three_tasks_on_real_digits_with_a_third_of_the_labels_missing(
    tmp_path: Path, digits: Arrays, method: str
) -> None:
    harness = EngineHarness(tmp_path)
    harness.dataset(digits, **DIGITS)
    training = {"epochs": 40, "batch_size": 64, "learning_rate": 0.01}
    job = spec(["digit", "parity", "ink"], training=training, balancing={"method": method})
    report = report_of(harness.run(job))
    tasks = report.student.tasks
    assert all(150 <= (metrics["rows"] or 0.0) <= 210 for metrics in tasks.values()), tasks
    assert (tasks["digit"]["accuracy"] or 0.0) > 0.9, tasks["digit"]
    assert (tasks["parity"]["accuracy"] or 0.0) > 0.9, tasks["parity"]
    spread = float(np.nanstd(digits["ink"]))
    assert (tasks["ink"]["rmse"] or spread) < 0.25 * spread, tasks["ink"]


def test_the_same_three_tasks_from_three_datasets_of_the_digits(tmp_path: Path, digits: Arrays) -> None:
    """Each dataset has labels of one task: 599 digits, 599 parities, 599 amounts of ink."""
    harness = EngineHarness(tmp_path)
    names = ["digit", "parity", "ink"]
    third = "ds_01890a5d-ac96-774b-bcce-b302099a8059"
    found = load_digits()
    whole = {
        "digit": found.target.astype(np.int64),
        "parity": (found.target % 2).astype(np.int64),
        "ink": digits["x"].sum((1, 2)),
    }
    for place, (name, identity) in enumerate(zip(names, (DATASET, OTHER, third), strict=True)):
        part = slice(599 * place, 599 * (place + 1))
        arrays = {"x": digits["x"][part], name: whole[name][part]}
        manifest = DIGITS | {"targets": {name: DIGITS["targets"][name]}}
        if identity == DATASET:
            harness.dataset(arrays, **manifest)
        else:
            harness.another(arrays, identity, **manifest)
    refs = [{"dataset": DATASET, "weight": 2.0}, {"dataset": OTHER}, {"dataset": third}]
    training = {"epochs": 40, "batch_size": 64, "learning_rate": 0.01}
    report = report_of(harness.run(spec(names, datasets=refs, training=training)))
    assert [use.batch for use in report.datasets] == [32, 16, 16]
    tasks = report.student.tasks
    assert {name: metrics["rows"] for name, metrics in tasks.items()} == dict.fromkeys(names, 90.0)
    assert (tasks["digit"]["accuracy"] or 0.0) > 0.85, tasks["digit"]
    assert (tasks["parity"]["accuracy"] or 0.0) > 0.85, tasks["parity"]
    assert (tasks["ink"]["r2"] or 0.0) > 0.9, tasks["ink"]


def test_a_vector_of_large_numbers_does_not_drown_the_other_tasks(harness: EngineHarness) -> None:
    """Regression targets are standardised inside, vectors number by number, and reported in their own units."""
    arrays = blobs()
    wide = np.stack([arrays["size"] * 1000.0, arrays["size"] * -0.01], axis=1).astype(np.float32)
    harness.dataset(
        {"x": arrays["x"], "label": arrays["label"], "wide": wide},
        targets={"label": {"kind": "class", "classes": 3}, "wide": {"kind": "vector"}},
    )
    training = {"epochs": 12, "batch_size": 32, "learning_rate": 0.01, "select_by": "last"}
    spec = {"kind": "multitask", "tasks": [{"name": "label"}, {"name": "wide"}], "training": training}
    report = report_of(harness.run({**spec, "student": {"family": "mlp", "hidden": [16]}}))
    assert (report.student.tasks["label"]["accuracy"] or 0.0) > 0.8
    first = harness.log.series("train/wide/supervised")[0]
    assert first is not None
    assert first < 10.0
    with np.load(harness.outputs() / "predictions-test.npz") as found:
        label, student = found["test/wide/label"], found["test/wide/student"]
    errors = np.sqrt(((student - label) ** 2).mean(0)) / label.std(0)
    assert errors.max() < 0.6, "both numbers are learned, in their own units"
