"""Each warning about a dataset where it must come, and on clean data where it must not."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

from app.contracts.resources.facts import DATASET_FACTS, DatasetFacts
from app.contracts.resources.manifests import DatasetManifest
from workers.engine.data.facts import facts_of
from workers.engine.data.quality.sentinels import sentinel_of
from workers.engine.data.reading import read_dataset

Array = NDArray[Any]
CLASS2: dict[str, Any] = {"kind": "class", "classes": 2}
VALUE: dict[str, Any] = {"kind": "value"}
NOTHING: Mapping[str, Array] = {}


def facts(
    folder: Path, x: Array, y: Array, target: dict[str, Any], more: Mapping[str, Array] = NOTHING, **manifest: Any
) -> DatasetFacts:
    path = folder / "data.npz"
    columns: dict[str, Any] = {"x": x, "y": y, **more}
    np.savez(path, **columns)
    document = {"name": "d", "format": "npz", "inputs": {"x": {"kind": "array"}}, "targets": {"y": target}, **manifest}
    parsed = DatasetManifest.model_validate_json(json.dumps(document))
    return facts_of(read_dataset(path, parsed), parsed)


def table(seed: int = 0, rows: int = 600, columns: int = 5) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def clean() -> dict[str, tuple[Array, Array, dict[str, Any]]]:
    """Data as people have it, without anything unusual."""
    x, draw = table(), np.random.default_rng(1)
    iris, wine, cancer = load_iris(), load_wine(), load_breast_cancer()
    digits, diabetes = load_digits(), load_diabetes()
    counts = np.where(draw.random((600, 5)) < 0.8, 0.0, draw.integers(1, 40, (600, 5)))
    return {
        "iris": (iris.data, iris.target, {"kind": "class", "classes": 3}),
        "wine": (wine.data, wine.target, {"kind": "class", "classes": 3}),
        "breast cancer": (cancer.data, cancer.target, CLASS2),
        "digits": (digits.images.astype(np.uint8), digits.target, {"kind": "class", "classes": 10}),
        "diabetes": (diabetes.data, diabetes.target, VALUE),
        "random regression": (x, x @ np.arange(1.0, 6.0) + draw.normal(size=600), VALUE),
        "random classes": (x, draw.integers(0, 2, 600), CLASS2),
        "few categories": (draw.integers(0, 2, (600, 4)), draw.integers(0, 2, 600), CLASS2),
        "counts with many zeros": (counts, draw.integers(0, 2, 600), CLASS2),
        "heavy tails": (draw.standard_cauchy((600, 5)), draw.exponential(size=600), VALUE),
        "numbers that end at a limit": (np.clip(x, -1.0, 1.0), np.clip(x.sum(1), -3.0, 3.0), VALUE),
        "labels": (x, (x[:, :2] + draw.normal(size=(600, 2)) > 0).astype(np.float32), {"kind": "multilabel"}),
        "vectors": (x, x[:, :3] * 2.0, {"kind": "vector"}),
        "some labels missing": (x, np.where(x[:, 1] > 1, -1, draw.integers(0, 2, 600)), CLASS2),
        "no labels": (x, np.full(600, -1), CLASS2),
        "one rare class": (x, (np.arange(600) % 50 == 0).astype(int), CLASS2),
    }


@pytest.mark.parametrize("name", clean())
def test_clean_data_has_no_warning(name: str, tmp_path: Path) -> None:
    x, y, target = clean()[name]
    assert facts(tmp_path, x, y, target).warnings == ()


def unusual() -> dict[str, tuple[str, Array, Array, dict[str, Any], str]]:
    """(code, x, y, target, part of the message)."""
    x, draw = table(), np.random.default_rng(1)
    y = x @ np.arange(1.0, 6.0) + draw.normal(size=600)
    labels = draw.integers(0, 2, 600)
    marked, coded, tagged = x.copy(), x * 100.0, y.copy()
    marked[::20, 2], coded[::50, 3], tagged[::30] = -999.0, 999.0, 1e6
    rare = np.where(np.arange(600) < 5, 2, labels)
    return {
        "labels -1 and 1": ("minus_one_is_missing", x, np.where(x[:, 0] + x[:, 1] > 0, 1, -1), CLASS2, '["-1", "1"]'),
        "a class never occurs": ("class_without_labels", x, labels, {"kind": "class", "classes": 3}, "(`2`)"),
        "a class of five": ("few_labels", x, rare, {"kind": "class", "classes": 3}, "(`2`)"),
        "60 rows": ("small_split", x[:60], labels[:60], CLASS2, "percentage points"),
        "60 rows of values": ("small_split", x[:60], y[:60], VALUE, "root mean square error"),
        "-999": ("sentinel_values", marked, y, VALUE, "`x[2]` is -999 in 30 rows"),
        "999 among larger numbers": ("sentinel_values", coded, y, VALUE, "`x[3]` is 999"),
        "a million": ("sentinel_values", x, tagged, VALUE, "`y` is 1000000"),
        "copies": ("duplicate_rows", np.r_[x, x[:60]], np.r_[y, y[:60]], VALUE, "have the same inputs"),
        "copied images": ("duplicate_rows", *_copied_images(), {"kind": "class", "classes": 10}, "test split"),
        "the answer in other units": ("input_predicts_target", np.c_[x, 3.0 * y - 7.0], y, VALUE, "`x[5]`"),
        "a label as a number": (
            "input_predicts_target",
            np.c_[x, labels * 2.0],
            np.c_[labels, x[:, 0] > x[:, 1]],
            {"kind": "multilabel"},
            "a threshold that separates a label",
        ),
        "the answer as a number": ("input_predicts_target", np.c_[x, labels * 2.0], labels, CLASS2, "`x[5]`"),
    }


def _copied_images() -> tuple[Array, Array]:
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8)[:400], digits.target[:400]
    return np.r_[images, images[:100]], np.r_[labels, labels[:100]]


@pytest.mark.parametrize("name", unusual())
def test_what_is_unusual_is_named(name: str, tmp_path: Path) -> None:
    code, x, y, target, part = unusual()[name]
    messages = [warning.message for warning in facts(tmp_path, x, y, target).warnings if warning.code == code]
    assert messages, name
    assert any(part in message for message in messages), messages
    others = {warning.code for warning in facts(tmp_path, x, y, target).warnings} - {code}
    assert others <= {"class_without_labels", "few_labels"}, others


def test_copies_that_independent_columns_would_repeat_are_told_beside_the_others(tmp_path: Path) -> None:
    x = table()
    x[:300] = np.arange(300)[:, None] % 2
    x, split = np.r_[x, x[:20], x[400:430]], np.repeat(["train", "test"], [600, 50])
    found = facts(tmp_path, x, np.zeros(650), VALUE, {"split": split}, splits={"column": "split"})
    (warning,) = (each for each in found.warnings if each.code == "duplicate_rows")
    assert warning.message.startswith("30 of 50 rows of the test split (60.0%) have the same inputs")
    assert "beside 20 that independent columns would repeat too" in warning.message


def test_minus_one_that_is_written_as_a_class_is_one(tmp_path: Path) -> None:
    x = table()
    named = {"kind": "class", "classes": ["-1", "1"]}
    found = facts(tmp_path, x, np.where(x[:, 0] + x[:, 1] > 0, 1, -1), named)
    assert found.warnings == ()
    assert sum(found.targets["y"].statistics["train"].counts or ()) == 420


NAMED: dict[str, tuple[Array, list[str]]] = {
    "-1 and 1": (np.where(table()[:, 0] + table()[:, 1] > 0, 1, -1), ["neg", "pos"]),
    "-1, 0 and 1": (np.random.default_rng(1).integers(-1, 2, 600), ["neg", "neu", "pos"]),
    "-1 and a name": (np.where(table()[:, 0] + table()[:, 1] > 0, "pos", "-1"), ["neg", "pos"]),
}


@pytest.mark.parametrize("what", NAMED)
def test_the_advice_about_minus_one_works_where_it_is_followed(what: str, tmp_path: Path) -> None:
    """Trap: it named the labels half by number and half by name, which no file fits."""
    y, names = NAMED[what]
    found = facts(tmp_path, table(), y, {"kind": "class", "classes": names})
    (message,) = (each.message for each in found.warnings if each.code == "minus_one_is_missing")
    advised = json.loads("{" + message.rpartition("`")[0].rpartition("`")[2] + "}")["classes"]
    assert len(advised) == len(np.unique(y))
    followed = facts(tmp_path, table(), y, {"kind": "class", "classes": advised})
    assert followed.warnings == ()
    if y.dtype.kind != "U":
        assert "number the classes from 0 to keep their names" in message
        ranks = np.unique(y, return_inverse=True)[1]
        assert facts(tmp_path, table(), ranks, {"kind": "class", "classes": names}).warnings == ()


def series() -> dict[str, tuple[Array, Array]]:
    """(columns, value) of forecasts: the last five values for the next one."""
    draw = np.random.default_rng(0)
    walk = np.cumsum(draw.normal(size=4005)) + 300.0
    wave = np.sin(np.arange(4005) / 50.0) * 20.0 + draw.normal(size=4005) * 0.01
    found = {}
    for name, values in {"random walk": walk, "smooth wave": wave}.items():
        windows = np.lib.stride_tricks.sliding_window_view(values, 6)
        found[name] = (windows[:, :5].copy(), windows[:, 5].copy())
    return found


@pytest.mark.parametrize("splits", [{"shuffle": False}, {}], ids=["ordered", "shuffled"])
@pytest.mark.parametrize("name", series())
def test_lagged_values_of_a_series_give_nothing_away(name: str, splits: dict[str, Any], tmp_path: Path) -> None:
    x, y = series()[name]
    assert min(np.corrcoef(x[:, 4], y)[0, 1], 1.0) > 0.999
    shares = {"fractions": {"train": 0.7, "validation": 0.15, "test": 0.15}}
    assert facts(tmp_path, x, y, VALUE, splits={**shares, **splits}).warnings == ()
    copied = facts(tmp_path, np.c_[x, y * 1.19 + 3.0], y, VALUE, splits={**shares, **splits})
    (warning,) = copied.warnings
    assert "the input column `x[5]` alone" in warning.message
    assert "an earlier value of a series is fine" in warning.message


def test_columns_are_called_by_their_names(tmp_path: Path) -> None:
    x = table()
    path = tmp_path / "data.csv"
    rows = "\n".join(f"{a:.6f},{b:.6f},{a * 2 + 1:.6f}" for a, b in x[:, :2])
    path.write_text(f"weight,height,y\n{rows}\n")
    inputs = {"x": {"kind": "array", "columns": ["weight", "height"]}}
    document = {"name": "d", "format": "csv", "inputs": inputs, "targets": {"y": VALUE}}
    manifest = DatasetManifest.model_validate_json(json.dumps(document))
    (warning,) = facts_of(read_dataset(path, manifest), manifest).warnings
    assert (warning.code, warning.targets) == ("input_predicts_target", ("y",))
    assert "`weight` alone" in warning.message


def test_a_split_by_chance_of_few_labels_among_many_columns_is_no_leak(tmp_path: Path) -> None:
    """One row of the rare class is the largest in some of 2000 columns."""
    y = np.zeros(400, dtype=np.int64)
    y[3] = 1
    found = facts(tmp_path, table(rows=400, columns=2000), y, CLASS2, splits={"fractions": {"train": 1.0}})
    assert "input_predicts_target" not in {warning.code for warning in found.warnings}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([*range(20), 5000, 5000, 5000], (5000.0, 3)),
        ([*range(20), 5000, 5000], None),  # twice is no convention
        ([*range(20), 25, 25, 25], None),  # near the others
        ([0, 1] * 20 + [99] * 5, None),  # among few numbers nothing is far outside
        ([*range(20), -1, -1, -1], None),
        ([3.0] * 10, None),
        ([], None),
    ],
)
def test_a_sentinel_is_repeated_and_far_outside(values: list[float], expected: tuple[float, int] | None) -> None:
    assert sentinel_of(np.array(values, dtype=np.float64)) == expected


def test_a_large_table_is_checked_in_bounded_time_and_says_that_it_was_a_sample(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60_000, 20)).astype(np.float32)
    x[::10, 4] = -9999.0
    (warning,) = facts(tmp_path, x, np.random.default_rng(1).integers(0, 2, 60_000), CLASS2).warnings
    assert warning.code == "sentinel_values"
    assert "in a sample of 50000 of 60000 rows" in warning.message


def test_statistics_count_labels_missing_rows_and_range_of_each_split(tmp_path: Path) -> None:
    x, y = table(rows=100), np.where(np.arange(100) % 4 == 0, -1, np.arange(100) % 2)
    found = facts(tmp_path, x, y, CLASS2, splits={"fractions": {"train": 0.8, "test": 0.2}})
    train = found.targets["y"].statistics["train"]
    assert set(found.targets["y"].statistics) == {"train", "test"}
    assert train.rows == 80 == train.labelled + train.missing
    assert sum(train.counts or ()) == train.labelled
    values = np.where(np.arange(100) == 7, np.nan, np.arange(100.0))
    value = facts(tmp_path, x, values, VALUE, splits={"fractions": {"train": 1.0}}).targets["y"].statistics["train"]
    assert (value.missing, value.minimum, value.maximum) == (1, 0.0, 99.0)
    assert value.mean == pytest.approx(np.nanmean(values))
    labels = (x > 0).astype(np.float32)
    many = facts(tmp_path, x, labels, {"kind": "multilabel"}, splits={"fractions": {"train": 1.0}})
    assert many.targets["y"].statistics["train"].positives == tuple(labels.sum(0).astype(int).tolist())


def test_facts_of_an_older_version_are_read() -> None:
    old = {
        "rows": 3,
        "splits": {"train": 3},
        "inputs": {"x": {"shape": [2]}},
        "targets": {"y": {"kind": "value", "size": 1, "labelled": {"train": 3}, "mean": 0.0, "std": 1.0}},
    }
    found = DATASET_FACTS.validate_json(json.dumps(old))
    assert (found.warnings, found.sha256, found.targets["y"].statistics) == ((), None, {})
