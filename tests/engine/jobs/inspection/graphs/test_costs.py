"""A graph whose time or memory depends on its rows is refused at upload, and honest ones are not."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.engine.jobs.inspection.onnx_graphs import Graph, W, graph, inspected, value
from tests.engine.jobs.inspection.unbounded_graphs import (
    UNBOUNDED,
    numbers_by_value,
    other_in_batches_of,
    other_where_rows,
)
from tests.engine.jobs.inspection.uploads import refused
from workers.engine.common.memory import address_space
from workers.engine.jobs.inspection.graphs import bounded_runs
from workers.engine.models.onnx_graph import OnnxGraph


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_runs, "ROOM_SECONDS", 0.5)


@pytest.mark.parametrize("name", UNBOUNDED)
def test_a_graph_that_takes_any_time_or_memory_for_some_rows_is_refused(name: str, tmp_path: Path) -> None:
    before = address_space()
    message = refused("cost_depends_on_rows", lambda: inspected(UNBOUNDED[name](), tmp_path))
    assert ("bytes" in message) == name.startswith("large")
    assert ": export the model without loops" in message
    assert address_space() - before < bounded_runs.ROOM_BYTES


@pytest.mark.parametrize("rows", [256, 1024])
def test_a_graph_that_answers_otherwise_in_batches_of_jobs_is_refused(rows: int, tmp_path: Path) -> None:
    refused("depends_on_batch", lambda: inspected(other_where_rows("Equal", rows), tmp_path))


def test_a_first_call_that_is_slow_does_not_hide_other_answers_in_larger_batches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Inspections on a busy machine: a tenth of a second for each first call of a size."""
    run, seen = OnnxGraph.run, set[int]()

    def slow(graph: OnnxGraph, rows: Any) -> Any:
        if len(rows) not in seen:
            seen.add(len(rows))
            time.sleep(0.1)
        return run(graph, rows)

    monkeypatch.setattr(OnnxGraph, "run", slow)
    refused("depends_on_batch", lambda: inspected(other_in_batches_of(256), tmp_path))


def test_a_graph_of_a_bounded_loop_and_of_numbers_by_its_rows_is_ready(tmp_path: Path) -> None:
    """Ten turns, and as many zeros as there are rows."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["state", "one"], ["next"])],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("state", ["n", 2])],
        [value("on", [], TensorProto.BOOL), value("next", ["n", 2])],
    )
    content = graph(
        helper.make_node("Gemm", ["x", "w", "b"], ["z"]),
        helper.make_node("Shape", ["z"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Add", ["z", "zeros"], ["start"]),
        helper.make_node("Loop", ["turns", "yes", "start"], ["y"], body=body),
        weights={
            "w": W,
            "b": np.zeros(2, np.float32),
            "turns": np.array(10, np.int64),
            "yes": np.array(True),
            "one": np.float32(1.0),
        },
    )
    assert inspected(content, tmp_path).outputs["y"].size == 2


def embedding(kind: int) -> Graph:
    """A table of 50 rows, which no large number is in."""
    return graph(
        helper.make_node("Gather", ["table", "ids"], ["h"]),
        helper.make_node("ReduceMean", ["h"], ["y"], axes=[1], keepdims=0),
        inputs=[value("ids", ["n", 6], kind)],
        weights={"table": np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)},
    )


@pytest.mark.parametrize("kind", [TensorProto.INT32, TensorProto.INT64])
def test_large_numbers_that_a_graph_does_not_take_say_nothing(kind: int, tmp_path: Path) -> None:
    assert inspected(embedding(kind), tmp_path).outputs["y"].size == 2


def test_what_follows_values_is_refused_of_whole_numbers_too(tmp_path: Path) -> None:
    content = numbers_by_value()
    content.graph.input[0].CopyFrom(value("ids", ["n", 4], TensorProto.INT64))
    content.graph.node.insert(0, helper.make_node("Cast", ["ids"], ["x"], to=TensorProto.FLOAT))
    refused("cost_depends_on_rows", lambda: inspected(content, tmp_path))
