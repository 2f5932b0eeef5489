"""Rows of tables as they were uploaded -> the ONNX student in bare ONNX Runtime -> what the predictions file has."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from tests.engine.export.raw_rows.bare_runs import ROWS, Json, answers, check_against_predictions, dataset_of, trained
from tests.engine.harness import EngineHarness
from tests.exhaustive import sample

DRAW = np.random.default_rng(5)
COUNTS = DRAW.integers(0, 40, size=ROWS)
PRICES = np.round(DRAW.normal(size=ROWS) * 300 + 900, 2)
GAPS = np.where(DRAW.random(ROWS) < 0.2, np.nan, PRICES)
HOURS = DRAW.integers(0, 24 * 90, size=ROWS)
FIRST = datetime(2024, 1, 31, tzinfo=UTC)
DATES = [FIRST + timedelta(hours=int(hours)) for hours in HOURS]
SECONDS = np.array([date.timestamp() for date in DATES])
FLAGS = DRAW.random(ROWS) < 0.5
COLOURS = np.array(["red", "green", "blue", "violet", ""])[DRAW.choice(5, p=[0.4, 0.3, 0.2, 0.05, 0.05], size=ROWS)]
PLANS = DRAW.integers(1, 4, size=ROWS)
TIERS = np.array(["0.50", "1.00", "2.5"])[DRAW.integers(0, 3, size=ROWS)]
LABELS = np.array(["no", "yes"])[(PRICES + 20 * COUNTS > 1300).astype(int)]
VECTORS = DRAW.normal(size=(ROWS, 3)) * [1, 10, 100]

NUMBERS: Json = {
    "kind": "array", "columns": ["count", "price", "gaps", "when", "flag"], "missing": "mean", "standardize": True,
}  # fmt: skip
CATEGORIES: Json = {"kind": "category", "columns": ["colour", "plan", "tier"]}
TARGETS: Json = {"y": {"kind": "class", "classes": ["no", "yes"]}, "price_next": {"kind": "value"}}
MODEL: Json = {"family": "mlp", "hidden": [8]}
TASKS: Json = {"kind": "multitask", "tasks": [{"name": "y"}, {"name": "price_next"}], "student": MODEL}
NEXT = np.roll(PRICES, 1)


def csv(path: Path) -> None:
    lines = ["count,price,gaps,when,flag,colour,plan,tier,y,price_next"]
    for i in range(ROWS):
        gap = "" if np.isnan(GAPS[i]) else GAPS[i]
        row = [COUNTS[i], PRICES[i], gap, f"{DATES[i]:%Y-%m-%d %H:%M:%S}", str(FLAGS[i]).lower()]
        lines.append(",".join(map(str, [*row, COLOURS[i], PLANS[i], TIERS[i], LABELS[i], NEXT[i]])))
    path.write_text("\n".join(lines) + "\n")


def jsonl(path: Path) -> None:
    rows = (
        {
            "count": int(COUNTS[i]),
            "price": PRICES[i],
            "gaps": None if np.isnan(GAPS[i]) else GAPS[i],
            "when": DATES[i].isoformat(),
            "flag": bool(FLAGS[i]),
            "colour": str(COLOURS[i]) or None,
            "plan": int(PLANS[i]),
            "tier": str(TIERS[i]),
            "y": str(LABELS[i]),
            "price_next": NEXT[i],
            "vector": VECTORS[i].tolist(),
        }
        for i in range(ROWS)
    )
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")


def parquet(path: Path) -> None:
    table = pa.table(
        {
            "count": pa.array(COUNTS.astype(np.int16)),
            "price": PRICES,
            "gaps": pa.array(GAPS, mask=np.isnan(GAPS)),
            "when": pa.array(DATES, pa.timestamp("us", tz="UTC")),
            "flag": FLAGS,
            "colour": pa.array([str(colour) or None for colour in COLOURS]).dictionary_encode(),
            "plan": PLANS,
            "tier": pa.array(TIERS.tolist()),
            "y": pa.array(LABELS.tolist()),
            "price_next": NEXT,
            "vector": pa.array(VECTORS.astype(np.float32).tolist(), pa.list_(pa.float32(), 3)),
        }
    )
    pyarrow.parquet.write_table(table, path)


WRITERS: dict[str, Callable[[Path], None]] = {"csv": csv, "jsonl": jsonl, "parquet": parquet}


def table(kind: str, harness: EngineHarness, **inputs: Json) -> None:
    path = harness.folder / f"rows.{kind}"
    WRITERS[kind](path)
    dataset_of(harness, path, {"format": kind, "inputs": inputs, "targets": TARGETS})


def numbers() -> NDArray[np.float64]:
    """The columns of NUMBERS as a data frame has them, dates as seconds."""
    return np.stack([COUNTS, PRICES, GAPS, SECONDS, FLAGS], axis=1).astype(np.float64)


def categories() -> NDArray[Any]:
    """The columns of CATEGORIES as text."""
    return np.stack([COLOURS, PLANS.astype(str), TIERS], axis=1).astype(object)


@pytest.mark.parametrize(
    ("kind", "encoding"),
    sample(
        [(kind, encoding) for kind in WRITERS for encoding in ("one_hot", "ordinal")],
        [("csv", "ordinal"), ("jsonl", "one_hot"), ("parquet", "one_hot")],
    ),
)
def test_numbers_dates_gaps_and_categories_go_in_as_a_table_has_them(
    kind: str, encoding: str, harness: EngineHarness
) -> None:
    """NaN where a number is missing, text for categories, and those that training has not seen."""
    table(kind, harness, numbers=NUMBERS, words={**CATEGORIES, "encoding": encoding})
    report = trained(harness, TASKS)
    assert set(report.export["onnx"].outputs) == {"y.logits", "y.probabilities", "price_next.value"}
    check_against_predictions(harness, {"numbers": numbers(), "words": categories()})


def test_a_category_may_be_written_in_its_usual_ways_and_others_share_a_slot(harness: EngineHarness) -> None:
    table("csv", harness, words=CATEGORIES)
    trained(harness, {**TASKS, "tasks": [{"name": "y"}], "kind": "multitask"})
    path = harness.outputs() / "student.onnx"

    def logits(*words: str) -> Any:
        return answers(path, {"words": np.array([words], dtype=object)})["y.logits"]

    as_text = logits("red", "1", "0.5")
    for same in (("red", "1.0", "0.50"), (" red", " 1", "0.500")):
        np.testing.assert_array_equal(logits(*same), as_text)
    unseen = logits("Red", "7", "?")
    assert not np.array_equal(unseen, as_text)
    np.testing.assert_array_equal(unseen, logits("", "nan", "none"))


@pytest.mark.parametrize(("kind", "expected"), [("csv", "string"), ("jsonl", "int64"), ("parquet", "int64")])
def test_whole_numbers_as_categories_are_of_the_type_that_the_file_gives_them(
    kind: str, expected: str, harness: EngineHarness
) -> None:
    """A csv has no types: its categories are text."""
    table(kind, harness, plans={"kind": "category", "columns": ["plan"]})
    trained(harness, TASKS)
    (source,) = onnxruntime.InferenceSession(harness.outputs() / "student.onnx").get_inputs()
    assert source.type == f"tensor({expected})"
    raw = PLANS[:, None] if expected == "int64" else PLANS[:, None].astype(str).astype(object)
    check_against_predictions(harness, {"plans": raw})


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_booleans_as_categories_go_in_as_such_where_the_file_has_types(kind: str, harness: EngineHarness) -> None:
    table(kind, harness, flags={"kind": "category", "columns": ["flag"]})
    trained(harness, TASKS)
    (source,) = onnxruntime.InferenceSession(harness.outputs() / "student.onnx").get_inputs()
    assert source.type == "tensor(bool)"
    check_against_predictions(harness, {"flags": FLAGS[:, None]})


@pytest.mark.parametrize("columns", [["flag"], ["flag", "sunny"]])
def test_booleans_and_text_of_an_archive(columns: list[str], harness: EngineHarness) -> None:
    arrays = {"flag": FLAGS, "sunny": ~FLAGS, "colour": COLOURS, "y": LABELS, "price_next": NEXT}
    path = harness.folder / "rows.npz"
    np.savez(path, **arrays)
    inputs: Json = {"flags": {"kind": "category", "columns": columns}, "colour": {"kind": "category"}}
    dataset_of(harness, path, {"format": "npz", "inputs": inputs, "targets": TARGETS})
    trained(harness, TASKS)
    flags = arrays[columns[0]] if len(columns) == 1 else np.stack([arrays[name] for name in columns], axis=1)
    check_against_predictions(harness, {"flags": flags, "colour": COLOURS.astype(object)})


@pytest.mark.parametrize(("kind", "dtype"), [("jsonl", np.float64), ("parquet", np.float32)])
def test_a_column_of_lists_is_one_tensor(kind: str, dtype: Any, harness: EngineHarness) -> None:
    table(kind, harness, vector={"kind": "array", "standardize": True})
    trained(harness, TASKS)
    check_against_predictions(harness, {"vector": VECTORS.astype(dtype)})
