"""Graphs of doubles and of large integers get the numbers of the file, whatever the path to them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from app.contracts.specs.jobs import DatasetRef
from app.contracts.wire.orders import ModelInput
from tests.engine.harness import DATASET, OTHER, STUDENT, TEACHER, Arrays, EngineHarness, report_of
from tests.engine.jobs.inspection.onnx_graphs import Graph, graph, inspected, onnx_manifest, value
from tests.engine.jobs.preflight.test_preflight import preflight
from workers.engine.data.joining import digest_facts, read_datasets

Json = dict[str, Any]
ROWS, FIRST = 300, 1_700_000_000
MATRIX = np.random.default_rng(1).normal(size=(4, 3))
TABLE = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0) * 4
TARGETS: Json = {"y": {"kind": "class", "classes": 3}}
TRAINING: Json = {"epochs": 1, "batch_size": 64}


def of_seconds(kind: int) -> Graph:
    """Scores (x - FIRST) M in double: the graph centres timestamps itself."""
    return graph(
        helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("Sub", ["d", "first"], ["h"]),
        helper.make_node("MatMul", ["h", "m"], ["y"]),
        inputs=[value("x", ["n", 4], kind)],
        outputs=[value("y", ["n", 3], TensorProto.DOUBLE)],
        weights={"first": np.float64(FIRST), "m": MATRIX},
    )


def of_hashes() -> Graph:
    """The mean of the table's rows that the hashed ids name by their remainder."""
    return graph(
        helper.make_node("Mod", ["x", "size"], ["place"]),
        helper.make_node("Gather", ["table", "place"], ["h"]),
        helper.make_node("ReduceMean", ["h"], ["y"], axes=[1], keepdims=0),
        inputs=[value("x", ["n", 2], TensorProto.INT64)],
        outputs=[value("y", ["n", 3])],
        weights={"size": np.int64(len(TABLE)), "table": TABLE},
    )


def seconds(span: int, whole: bool, seed: int = 0) -> Arrays:
    """Timestamps of a span; classes by the scores of `of_seconds`, each of which is 1 in double alone."""
    draw = np.random.default_rng(seed)
    x = draw.integers(0, span, size=(ROWS, 4)) if whole else draw.uniform(0.0, span, size=(ROWS, 4))
    return {"x": x + FIRST, "y": (x @ MATRIX).argmax(1)}


def hashes() -> Arrays:
    ids = np.random.default_rng(0).integers(2**25, 2**50, size=(ROWS, 2))
    return {"x": ids, "y": TABLE[ids % len(TABLE)].mean(1).argmax(1)}


def add(harness: EngineHarness, content: Graph, folder: Path) -> None:
    facts = inspected(content, folder)
    path = str(folder / "model.onnx")
    harness.models[TEACHER] = ModelInput(id=TEACHER, manifest=onnx_manifest(), facts=facts, path=path, sha256="0" * 64)


def dataset(harness: EngineHarness, arrays: Arrays, standardize: bool) -> None:
    harness.dataset(arrays, inputs={"x": {"kind": "array", "standardize": standardize}}, targets=TARGETS)


def spec(**changes: Any) -> Json:
    teachers = [{"model": TEACHER}]
    return {
        "kind": "distill",
        "target": "y",
        "teachers": teachers,
        "student": STUDENT,
        "training": TRAINING,
        **changes,
    }


CASES: dict[str, tuple[Graph, Arrays]] = {
    "doubles in a graph of doubles": (of_seconds(TensorProto.DOUBLE), seconds(100, whole=False)),
    "seconds in a graph of doubles": (of_seconds(TensorProto.DOUBLE), seconds(100, whole=True)),
    "seconds in int64": (of_seconds(TensorProto.INT64), seconds(100, whole=True)),
    "seconds in int32": (of_seconds(TensorProto.INT32), seconds(100, whole=True)),
    "hashed ids": (of_hashes(), hashes()),
}


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_a_graph_is_right_about_rows_that_float32_would_round(
    harness: EngineHarness, tmp_path: Path, case: str, standardize: bool
) -> None:
    """By construction it is right about every row, in preflight and job."""
    content, arrays = CASES[case]
    add(harness, content, tmp_path)
    dataset(harness, arrays, standardize)
    (looked_at,) = preflight(harness, spec()).teachers
    assert looked_at.accuracy == 1.0
    assert report_of(harness.run(spec())).teachers[0].tasks["y"]["accuracy"] == 1.0


def test_rows_of_a_wide_range_are_not_rounded_either(harness: EngineHarness, tmp_path: Path) -> None:
    """A span of a year: float32 would round to 64 seconds, which is little of the span and much of the scores' unit."""
    arrays = seconds(30_000_000, whole=True)
    add(harness, of_seconds(TensorProto.INT64), tmp_path)
    dataset(harness, arrays, standardize=True)
    harness.run(spec())
    with np.load(harness.outputs() / "predictions-test.npz") as found:
        rows, scores = found["test/row"], found["test/y/teacher"]
    np.testing.assert_allclose(scores, (arrays["x"][rows] - FIRST) @ MATRIX, rtol=1e-5, atol=1.0)


def test_inputs_of_several_types_each_get_theirs(harness: EngineHarness, tmp_path: Path) -> None:
    """Floats beside timestamps in int64, which the dataset joins to one tensor."""
    arrays = seconds(100, whole=True)
    content = graph(
        helper.make_node("Cast", ["when"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["other"], ["o"], to=TensorProto.DOUBLE),
        helper.make_node("Sub", ["d", "first"], ["h"]),
        helper.make_node("Concat", ["h", "o"], ["x"], axis=1),
        helper.make_node("MatMul", ["x", "m"], ["y"]),
        inputs=[value("when", ["n", 3], TensorProto.INT64), value("other", ["n", 1])],
        outputs=[value("y", ["n", 3], TensorProto.DOUBLE)],
        weights={"first": np.float64(FIRST), "m": MATRIX},
    )
    add(harness, content, tmp_path)
    parts = {"other": (arrays["x"][:, 3:] - FIRST).astype(np.float32), "when": arrays["x"][:, :3], "y": arrays["y"]}
    array: Json = {"kind": "array", "standardize": True}
    harness.dataset(parts, inputs={"other": array, "when": array}, targets=TARGETS)
    assert report_of(harness.run(spec())).teachers[0].tasks["y"]["accuracy"] == 1.0


def test_two_datasets_keep_their_numbers(harness: EngineHarness, tmp_path: Path) -> None:
    add(harness, of_seconds(TensorProto.DOUBLE), tmp_path)
    manifest: Json = {"inputs": {"x": {"kind": "array", "standardize": True}}, "targets": TARGETS}
    harness.dataset(seconds(100, whole=False), **manifest)
    harness.another(seconds(100, whole=True, seed=1), **manifest)
    report = report_of(harness.run(spec(datasets=[{"dataset": DATASET}, {"dataset": OTHER}])))
    assert report.teachers[0].tasks["y"]["accuracy"] == 1.0


def test_a_control_of_rounded_rows_is_not_taken_for_one_of_exact_rows(harness: EngineHarness, tmp_path: Path) -> None:
    """A job without a teacher of wide numbers reads the same file in float32."""
    add(harness, of_hashes(), tmp_path)
    dataset(harness, hashes(), standardize=True)
    order = harness.order(spec())
    narrow = order.model_copy(update={"models": {}})
    exact, rounded = (read_datasets(each, [DatasetRef(dataset=DATASET)]) for each in (order, narrow))
    assert (exact.raw.dtype, rounded.raw.dtype) == (torch.float64, torch.float32)
    assert digest_facts(order, exact) != digest_facts(narrow, rounded)
