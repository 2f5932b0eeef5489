"""Graphs that take any time or memory for some rows: refused at upload, or ended in a job, which frees its slot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.demo.service import Service
from tests.e2e.conftest import Client
from tests.engine.jobs.inspection.onnx_graphs import Graph
from tests.engine.jobs.inspection.unbounded_graphs import endless_where_rows, numbers_by_value

ROWS = 140
"""A batch that no trial has: a teacher is run on all rows of a small dataset at once."""
DATASET: dict[str, Any] = {
    "name": "rows",
    "format": "npz",
    "inputs": {"x": {"kind": "array"}},
    "targets": {"y": {"kind": "class", "classes": 4}},
}
TEACHER: dict[str, Any] = {"name": "teacher", "format": "onnx", "outputs": {"y": {"kind": "class"}}}
TRAIN: dict[str, Any] = {
    "kind": "train",
    "target": "y",
    "model": {"family": "mlp", "hidden": [4]},
    "training": {"epochs": 1},
}


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Client]:
    """A service that waits for progress as short as it may."""
    settings = {"STILLHOUSE_THREADS": "1", "STILLHOUSE_STALLED_SECONDS": "5"}
    with (
        Service(tmp_path / "data", settings=settings) as running,
        httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {running.key}"}, timeout=90) as http,
    ):
        yield Client(http)


def _rows(path: Path) -> Path:
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, 4)).astype(np.float32)
    np.savez(path, x=x, y=x.argmax(1))
    return path


def _written(graph: Graph, path: Path) -> Path:
    path.write_bytes(graph.SerializeToString())
    return path


def test_a_graph_is_refused_in_the_sandbox_or_frees_its_slot_where_it_loops_in_a_job_alone(
    impatient: Client, tmp_path: Path
) -> None:
    refused = impatient.upload("models", TEACHER, _written(numbers_by_value(), tmp_path / "large.onnx"))
    assert (refused["state"], refused["rejection"]["code"]) == ("rejected", "cost_depends_on_rows")
    dataset = impatient.upload("datasets", DATASET, _rows(tmp_path / "rows.npz"))
    teacher = impatient.upload("models", TEACHER, _written(endless_where_rows("Equal", ROWS), tmp_path / "t.onnx"))
    assert (dataset["state"], teacher["state"]) == ("ready", "ready"), (dataset["rejection"], teacher["rejection"])
    student = {"family": "mlp", "hidden": [4]}
    distill = {"kind": "distill", "target": "y", "teachers": [{"model": teacher["id"]}], "student": student}
    stalled = impatient.submit({**distill, "dataset": dataset["id"], "training": {"epochs": 1}})
    after = impatient.finish({**TRAIN, "dataset": dataset["id"]})
    job = impatient.get(f"/v1/jobs/{stalled['id']}?wait=30")
    assert (job["state"], job["error"]["code"], job["attempt"]) == ("failed", "stalled", 1)
    assert "found none for 5 s (phase `teaching`)" in job["error"]["message"]
    assert after["state"] == "succeeded"
