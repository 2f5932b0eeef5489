"""Rows as they stand in a dataset's file, sent in any way -> the answers that the predictions file of the job has."""

import json

import numpy as np
import pytest

from tests.engine.export.raw_rows import test_tables as tables
from tests.engine.export.raw_rows.bare_runs import ROWS, SPLITS, TRAINING
from tests.engine.export.raw_rows.test_arrays import COLOURS, SCALES
from tests.engine.harness import Arrays, EngineHarness
from tests.engine.serving.serving import Json, answer, check_same, npz, predictions, refused, student_session

DRAW = np.random.default_rng(8)
LABELS = (DRAW.random((ROWS, 3)) < 0.4).astype(np.float32)
VECTORS = SCALES[:, :2] @ [[1.0, 0.5], [0.1, 2.0]]


def lines_of(harness: EngineHarness, rows: np.ndarray, kind: str) -> list[str]:
    """The rows' lines of the dataset's file, with the header of a csv."""
    lines = (harness.folder / f"rows.{kind}").read_text().splitlines()
    return [lines[0], *(lines[1 + row] for row in rows)] if kind == "csv" else [lines[row] for row in rows]


def test_rows_of_a_csv_are_answered_as_csv_as_json_and_as_lines(harness: EngineHarness) -> None:
    """Categories, gaps, dates and booleans; two inputs; a class and a value."""
    tables.table("csv", harness, numbers=tables.NUMBERS, words=tables.CATEGORIES)
    outcome = harness.run({"training": TRAINING, "exports": ["onnx"], **tables.TASKS})
    session = student_session(harness, outcome.student, outcome.student_manifest)
    expected = predictions(harness)
    rows = expected["row"]
    check_same(answer(session, "csv", "\n".join(lines_of(harness, rows, "csv"))), expected, outcome.student)
    tables.jsonl(harness.folder / "rows.jsonl")
    lines = lines_of(harness, rows, "jsonl")
    check_same(answer(session, "jsonl", "\n".join(lines)), expected, outcome.student)
    kept = {"count", "price", "gaps", "when", "flag", "colour", "plan", "tier", "y", "price_next"}
    objects = [{name: value for name, value in json.loads(line).items() if name in kept} for line in lines]
    check_same(answer(session, "json", {"rows": objects}), expected, outcome.student)
    numbers = [[None if number != number else number for number in row] for row in tables.numbers()[rows].tolist()]
    inputs = {"numbers": numbers, "words": tables.categories()[rows].tolist()}
    check_same(answer(session, "json", {"inputs": inputs}), expected, outcome.student)
    as_arrays = {"numbers": tables.numbers()[rows], "words": tables.categories()[rows].astype(str)}
    check_same(answer(session, "npz", npz(as_arrays)), expected, outcome.student)

    padded = [{**each, "colour": f"\t {each['colour'] or ''}  ", "plan": f" {each['plan']}.000 "} for each in objects]
    check_same(answer(session, "json", {"rows": padded}), expected, outcome.student)
    header, *body = lines_of(harness, rows, "csv")
    parts = [line.split(",") for line in body]
    spaced = [",".join([*each[:5], *(f"  {word}\t " for word in each[5:8]), *each[8:]]) for each in parts]
    check_same(answer(session, "csv", "\n".join([header, *spaced])), expected, outcome.student)

    row = objects[0]
    assert refused(session, "json", {"rows": [row, {**row, "price": "dear"}]}) == ("/rows/1/price", "wrong_type")
    assert refused(session, "json", {"rows": [{**row, "shoe": 1}]}) == ("/rows/0/shoe", "unknown_column")
    del row["plan"]
    assert refused(session, "json", {"rows": [row]}) == ("/rows/0", "missing_column")
    header, *body = lines_of(harness, rows[:2], "csv")
    fields = body[1].split(",")
    wrong = ",".join([fields[0], "dear", *fields[2:]])
    assert refused(session, "csv", f"{header}\n{body[0]}\n{wrong}\n") == ("/1/price", "wrong_type")
    endless = ",".join([fields[0], "inf", *fields[2:]])
    assert refused(session, "csv", f"{header}\n{body[0]}\n{endless}\n") == ("/1/price", "not_finite")
    assert refused(session, "csv", "count,price\n1,2\n") == ("", "missing_column")
    assert refused(session, "csv", f"{header}\n") == ("", "no_rows")
    assert refused(session, "csv", "\n".join([header, *body * 129])) == ("", "too_many_rows")
    assert refused(session, "jsonl", "\n".join(["{}", "x"])) == ("/1", "invalid_json")


def test_rows_of_an_archive_are_answered_as_an_archive_and_as_json(harness: EngineHarness) -> None:
    """Bytes with the channels last; labels and a vector; the ONNX file is made when the session is opened."""
    arrays: Arrays = {"x": COLOURS, "labels": LABELS, "place": VECTORS.astype(np.float32)}
    harness.dataset(
        arrays,
        inputs={"x": {"kind": "array", "layout": "channels_last", "standardize": True}},
        targets={"labels": {"kind": "multilabel"}, "place": {"kind": "vector"}},
        **SPLITS,
    )
    model: Json = {"family": "convnet", "channels": [4]}
    spec: Json = {"kind": "multitask", "tasks": [{"name": "labels"}, {"name": "place"}], "student": model}
    outcome = harness.run({"training": TRAINING, **spec})
    session = student_session(harness, outcome.student, outcome.student_manifest)
    expected = predictions(harness)
    rows = COLOURS[expected["row"]]
    check_same(answer(session, "npz", npz({"x": rows})), expected, outcome.student)
    check_same(answer(session, "json", {"inputs": {"x": rows.tolist()}}), expected, outcome.student)
    check_same(answer(session, "npz", npz({"x": rows.astype(np.float64)})), expected, outcome.student)
    assert refused(session, "npz", npz({"x": rows[0]})) == ("/x", "shape_mismatch")
    assert refused(session, "npz", npz({"x": rows + 0.5})) == ("/x/0/0/0/0", "not_whole_numbers")
    assert refused(session, "npz", npz({"y": rows})) == ("", "missing_column")
    assert refused(session, "npz", b"PK\x03\x04")[1] == "unreadable"


@pytest.mark.exhaustive
def test_whole_numbers_and_booleans_as_categories_are_sent_as_the_file_has_them(harness: EngineHarness) -> None:
    kind = "jsonl"
    tables.table(kind, harness, plans={"kind": "category", "columns": ["plan"]}, flag={"kind": "array"})
    outcome = harness.run({"training": TRAINING, **tables.TASKS})
    session = student_session(harness, outcome.student, outcome.student_manifest)
    expected = predictions(harness)
    body = "\n".join(lines_of(harness, expected["row"], kind))
    check_same(answer(session, kind, body), expected, outcome.student)
    rows = expected["row"]
    inputs = {"plans": tables.PLANS[rows, None].tolist(), "flag": tables.FLAGS[rows, None].astype(int).tolist()}
    check_same(answer(session, "json", {"inputs": inputs}), expected, outcome.student)
    inputs["plans"][3] = ["gold"]
    assert refused(session, "json", {"inputs": inputs}) == ("/inputs/plans/3/0", "wrong_type")
