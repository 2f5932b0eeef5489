"""Teachers that passed their inspection and depend on the rest of the batch for the rows that the dataset has."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from app.contracts.wire.orders import ModelInput
from tests.engine.harness import TEACHER, EngineHarness
from tests.engine.jobs.inspection.onnx_graphs import Graph, graph, inspected, onnx_manifest
from tests.engine.jobs.preflight.test_unfit_teachers import outcome, spec

ROWS, THRESHOLD = 200, 1000.0


def test_outputs_that_depend_on_the_batch_end_preflight_and_job(harness: EngineHarness, tmp_path: Path) -> None:
    """Above 1000 the graph adds the mean over the batch; an inspection has no reason to try such numbers."""
    x = np.random.default_rng(0).uniform(0.0, 5.0 * THRESHOLD, size=(ROWS, 4)).astype(np.float32)
    harness.dataset({"x": x, "y": (x[:, 0] > x[:, 1]).astype(int)}, targets={"y": {"kind": "class", "classes": 2}})
    weights = {"t": np.float32(THRESHOLD), "w": np.array([[-1, 1], [1, -1], [0, 0], [0, 0]], np.float32)}
    batch = graph(
        helper.make_node("Sub", ["x", "t"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Add", ["x", "m"], ["c"]),
        helper.make_node("MatMul", ["c", "w"], ["y"]),
        weights=weights,
    )
    refused_at_the_first_pass(harness, batch, tmp_path)


def refused_at_the_first_pass(harness: EngineHarness, content: Graph, folder: Path) -> None:
    facts = inspected(content, folder)
    path = str(folder / "model.onnx")
    harness.models[TEACHER] = ModelInput(id=TEACHER, manifest=onnx_manifest(), facts=facts, path=path, sha256="0" * 64)
    ((code, message),), _ = outcome(harness, spec(model=TEACHER))
    assert code == "depends_on_batch"
    assert "teacher" in message


def test_other_outputs_in_batches_of_the_size_of_a_pass_end_preflight_and_job(
    harness: EngineHarness, tmp_path: Path
) -> None:
    """The graph adds 9 to the first score in batches of 200 rows, which no inspection has."""
    x = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
    harness.dataset({"x": x, "y": (x[:, 0] > x[:, 1]).astype(int)}, targets={"y": {"kind": "class", "classes": 2}})
    content = graph(
        helper.make_node("Shape", ["x"], ["shape"], end=1),
        helper.make_node("Equal", ["shape", "rows"], ["is_whole"]),
        helper.make_node("Cast", ["is_whole"], ["whole"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["whole", "shift"], ["more"]),
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Add", ["z", "more"], ["y"]),
        weights={
            "rows": np.array([ROWS]),
            "shift": np.array([9, 0], np.float32),
            "w": np.array([[-1, 1], [1, -1], [0, 0], [0, 0]], np.float32),
        },
    )
    refused_at_the_first_pass(harness, content, tmp_path)
