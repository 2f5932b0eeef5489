"""Teachers that passed their inspection and depend on the rest of the batch for the rows that the dataset has."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from app.contracts.problems import UserError
from app.contracts.wire.orders import ModelInput
from tests.engine.harness import TEACHER, EngineHarness
from tests.engine.jobs.inspection.onnx_graphs import Graph, graph, inspected, onnx_manifest
from tests.engine.jobs.inspection.unbounded_graphs import other_in_batches_of
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


def _teach(harness: EngineHarness, content: Graph, folder: Path) -> None:
    facts = inspected(content, folder)
    path = str(folder / "model.onnx")
    harness.models[TEACHER] = ModelInput(id=TEACHER, manifest=onnx_manifest(), facts=facts, path=path, sha256="0" * 64)


def refused_at_the_first_pass(harness: EngineHarness, content: Graph, folder: Path) -> None:
    _teach(harness, content, folder)
    ((code, message),), _ = outcome(harness, spec(model=TEACHER))
    assert code == "depends_on_batch"
    assert "teacher" in message


def test_other_outputs_in_batches_of_the_size_of_a_pass_end_preflight_and_job(
    harness: EngineHarness, tmp_path: Path
) -> None:
    _rows_of(harness, ROWS)
    refused_at_the_first_pass(harness, other_in_batches_of(ROWS), tmp_path)


def test_other_outputs_in_the_last_and_smaller_batch_of_a_pass_end_a_job(
    harness: EngineHarness, tmp_path: Path
) -> None:
    """Passes have 256 rows: the last one of 444 has 188."""
    _rows_of(harness, 444)
    _teach(harness, other_in_batches_of(188), tmp_path)
    with pytest.raises(UserError, match="in another batch") as caught:
        harness.run(spec(model=TEACHER))
    assert caught.value.code == "depends_on_batch"


def _rows_of(harness: EngineHarness, count: int) -> None:
    x = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    harness.dataset({"x": x, "y": (x[:, 0] > x[:, 1]).astype(int)}, targets={"y": {"kind": "class", "classes": 2}})
