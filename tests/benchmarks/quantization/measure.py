"""Trains a network with and without quantization, and measures its files side by side."""

import tempfile
from pathlib import Path

import onnx
import torch

from app.contracts.reports.report import Report
from tests.benchmarks.accuracy.defaults.campaign import commit
from tests.benchmarks.figures import machine
from tests.benchmarks.quantization.cells import Cell, Method
from tests.benchmarks.quantization.sets import NETWORKS, QuantizedSet
from tests.engine.harness import TEACHER, EngineHarness, report_of
from workers.engine.data.dataset import Dataset
from workers.engine.data.reading import read_dataset
from workers.engine.data.rows.uploaded import MOST_KEPT
from workers.engine.evaluation.cost.measured import MeasuredFile
from workers.engine.evaluation.cost.runtime import measure
from workers.engine.export.graph_card import graph_metadata
from workers.engine.export.graph_outputs import GraphOutputs, feeds_of
from workers.engine.export.onnx import of_raw_rows, trace
from workers.engine.export.quantized_graphs import Quantization
from workers.engine.jobs.exports.quantized_students import CALIBRATION_ROWS, block_of, spread
from workers.engine.jobs.exports.ready_model import raw_student
from workers.engine.models.quantization.compact import compact
from workers.engine.models.quantization.copies import copied
from workers.engine.models.quantization.post_training import quantize_dynamically

TRAINING = {"recipe": "fast"}
AWARE = {"aware": True}


def cells_of(network: str, data: QuantizedSet, seed: int) -> list[Cell]:
    """All files of a network."""
    with tempfile.TemporaryDirectory() as folder:
        harness = EngineHarness(Path(folder))
        harness.dataset(
            data.arrays(network, seed),
            inputs={"x": {"kind": "array", "standardize": None}},
            targets={"y": {"kind": "class", "classes": data.classes}},
            splits={"column": "split"},
        )
        spec = {"kind": "train", "target": "y", "model": NETWORKS[network], "training": {**TRAINING, "seed": seed}}
        after = harness.run({**spec, "exports": ["onnx", "int8", "fp16"]}, job="after")
        aware = report_of(harness.run({**spec, "quantization": AWARE}, job="aware"))
        harness.teacher(after, harness.folder / "after" / "attempt-1")
        return _cells(harness, network, data.name, seed, report_of(after), aware)


def _cells(harness: EngineHarness, network: str, data: str, seed: int, report: Report, aware: Report) -> list[Cell]:
    outputs = {job: harness.outputs(job) for job in ("after", "aware")}
    paths: dict[Method, Path] = {
        "float32": outputs["after"] / "student.onnx",
        "float16": outputs["after"] / "student.fp16.onnx",
        "aware": outputs["aware"] / "student.int8.onnx",
    }
    accuracy: dict[Method, float | None] = {
        "float32": report.student.tasks["y"]["accuracy"],
        "float16": report.quantized["student_fp16"].tasks["y"]["accuracy"],
        "aware": aware.quantized["student_int8"].tasks["y"]["accuracy"],
    }
    assert harness.data is not None
    dataset = read_dataset(Path(harness.data.path), harness.data.manifest, kept=MOST_KEPT)
    found = _after_training(harness, dataset)
    paths |= {method: path for method, (path, _) in found.items()}
    accuracy |= {method: figure for method, (_, figure) in found.items()}
    uploaded = dataset.uploaded
    assert uploaded is not None
    rows = {name: each.sample for name, each in uploaded.inputs.items()}
    costs = measure([MeasuredFile(method, path, rows) for method, path in paths.items()])
    cells = []
    for method, path in paths.items():
        latency, figure = costs[method]["onnxruntime"].latency["1"], accuracy[method]
        assert figure is not None
        times = latency["1"].median_ms, latency["64"].median_ms
        chosen = report.quantized["student_int8"].method == method
        size = path.stat().st_size
        cells.append(Cell(network, data, seed, method, 100 * figure, size, *times, chosen, commit(), machine()))
    return cells


def _after_training(harness: EngineHarness, dataset: Dataset) -> dict[Method, tuple[Path, float]]:
    """The network in float32, quantized by both ways whether a job would try them or not: files, and accuracy."""
    student = raw_student(harness.models[TEACHER])
    feeds = feeds_of(student, dataset.raw, dataset.layout)
    graph = trace(student)
    rows = spread(dataset.splits["train"], CALIBRATION_ROWS)
    static = Quantization(student, graph, [feeds(part) for part in torch.split(rows, 256)], {}).graphs("int8")["static"]
    dynamic = quantize_dynamically(copied(graph.model))
    compact(dynamic)
    return {
        "static": _measured(harness, dataset, "static", static),
        "dynamic": _measured(harness, dataset, "dynamic", dynamic),
    }


def _measured(harness: EngineHarness, dataset: Dataset, method: Method, model: onnx.ModelProto) -> tuple[Path, float]:
    student = raw_student(harness.models[TEACHER])
    feeds = feeds_of(student, dataset.raw, dataset.layout)
    block = block_of("dynamic" if method == "dynamic" else "static")
    test, labels = dataset.splits["test"], dataset.targets["y"].values
    predicted = GraphOutputs(model, student.outputs, feeds, block)(test)["y"].argmax(1)
    path = harness.folder / f"{method}.onnx"
    path.write_bytes(of_raw_rows(copied(model), student, graph_metadata(student, brief=True)))
    return path, float((predicted == labels[test]).double().mean())
