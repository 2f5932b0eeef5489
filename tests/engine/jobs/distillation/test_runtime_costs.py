"""Student and teachers of a job in the runtimes where they may run, in the job's report."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.contracts.wire.orders import ModelInput
from tests.engine.harness import SECOND, STUDENT, TEACHER, EngineHarness, blobs, report_of
from tests.engine.jobs.inspection.onnx_graphs import graph, inspected, onnx_manifest, value
from workers.engine.common.files import sha256_of
from workers.engine.common.stop import Stopped, StopReason
from workers.engine.evaluation.cost.measured import MeasuredFile, MeasuredNetwork
from workers.engine.evaluation.cost.runtime import Costs, measure
from workers.engine.jobs.exports import runtime_costs

FIXED = "mdl_01890a5d-ac96-774b-bcce-b302099a8059"
SPEC: dict[str, Any] = {
    "kind": "distill",
    "target": "label",
    "student": STUDENT,
    "distillation": {"allow_chance_teacher": True},
    "training": {"epochs": 1, "batch_size": 32},
    "control": False,
    "repeats": 1,
}


class StopOnRequest:
    """A stop that a test asks for."""

    wanted = False

    def requested(self) -> StopReason | None:
        return "cancel" if self.wanted else None


def add_graph(harness: EngineHarness, identity: str, batch: int | str) -> None:
    """An uploaded graph with this batch dimension."""
    folder = harness.folder / identity
    folder.mkdir()
    weights = {"w": np.ones((6, 3), np.float32), "b": np.zeros(3, np.float32)}
    content = graph(inputs=[value("x", [batch, 6])], outputs=[value("y", [batch, 3])], weights=weights)
    facts, path = inspected(content, folder), folder / "model.onnx"
    harness.models[identity] = ModelInput(
        id=identity, manifest=onnx_manifest(), facts=facts, path=str(path), sha256=sha256_of(path)
    )


def add_trained(harness: EngineHarness) -> None:
    model = {"family": "mlp", "hidden": [64]}
    outcome = harness.run({"kind": "train", "target": "label", "model": model, "training": {"epochs": 2}}, "teacher")
    harness.teacher(outcome, harness.folder / "teacher" / "attempt-1")


@pytest.fixture
def taught(harness: EngineHarness) -> EngineHarness:
    """Data with a teacher's outputs, a trained teacher, an uploaded graph and one with a fixed batch size."""
    arrays = blobs()
    targets = {
        "label": {"kind": "class", "classes": 3},
        "told": {"kind": "teacher", "size": 3, "predicts": {"kind": "class", "output": "logits"}},
    }
    harness.dataset(arrays | {"told": 3.0 * np.eye(3)[arrays["label"]]}, targets=targets)
    add_trained(harness)
    add_graph(harness, SECOND, "n")
    add_graph(harness, FIXED, 8)
    return harness


def test_each_party_is_measured_where_it_can_run_and_the_others_say_why_not(taught: EngineHarness) -> None:
    teachers = [{"model": TEACHER}, {"model": SECOND}, {"model": FIXED}, {"columns": "told"}]
    outcome = taught.run({**SPEC, "teachers": teachers, "exports": ["onnx"]})
    report = report_of(outcome)
    trained, uploaded, fixed, told = report.teachers
    assert set(report.student.runtime) == set(trained.runtime) == {"onnxruntime", "torch"}
    assert set(uploaded.runtime) == {"onnxruntime"}
    assert fixed.runtime == told.runtime == {}
    assert "fixed batch size" in report.not_measured[f"runtime/teacher/{FIXED}"]
    assert "columns" in report.not_measured["runtime/teacher/told"]
    for party in (report.student, trained, uploaded):
        assert set(party.latency) == set(party.runtime["onnxruntime"].latency["1"]) == {"1", "64"}
    sizes = {file.role: file.bytes for file in outcome.files}
    assert report.student.runtime["onnxruntime"].bytes == sizes["onnx"]
    assert not list((taught.outputs().parent).glob("tmp*")), "the teachers' files are gone"


def test_a_large_teacher_is_not_measured_and_its_size_is_compared_with_each_file(
    taught: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_costs, "MOST_BYTES", 100)
    outcome = taught.run({**SPEC, "teachers": [{"model": TEACHER}], "exports": ["onnx"]})
    report = report_of(outcome)
    assert report.teachers[0].runtime == {}
    assert set(report.student.runtime) == {"onnxruntime", "torch"}
    assert "more than the 100" in report.not_measured[f"runtime/teacher/{TEACHER}"]
    sizes, weights = {file.role: file.bytes for file in outcome.files}, report.teachers[0].bytes
    assert weights is not None
    assert report.compression is not None
    assert report.compression.files == {
        "safetensors": pytest.approx(weights / sizes["student"]),
        "onnx": pytest.approx(weights / sizes["onnx"]),
    }


def test_a_teacher_that_cannot_be_written_as_onnx_costs_no_job(
    taught: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("an operator is missing")

    monkeypatch.setattr(runtime_costs, "export_onnx", fails)
    report = report_of(taught.run({**SPEC, "teachers": [{"model": TEACHER}], "exports": ["onnx"]}))
    assert report.student.runtime["onnxruntime"].latency
    assert "could not be written as ONNX" in report.not_measured[f"runtime/teacher/{TEACHER}"]
    assert "process" in report.not_measured["runtime/student/peak_memory_bytes"], "no process is started in tests"


def test_a_measurement_that_fails_costs_no_job(taught: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such session")

    monkeypatch.setattr(runtime_costs, "measure", fails)
    outcome = taught.run({**SPEC, "teachers": [{"columns": "told"}], "exports": ["onnx"]})
    report = report_of(outcome)
    assert "onnx" in {file.role for file in outcome.files}
    assert report.student.runtime == {}
    assert report.not_measured["runtime"] == "the measurement failed (RuntimeError: no such session)"


def test_a_stop_ends_a_measurement(taught: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopOnRequest()

    def measured(
        files: Sequence[MeasuredFile], networks: Sequence[MeasuredNetwork], check: Callable[[], None]
    ) -> Costs:
        stop.wanted = True
        return measure(files, networks, check)

    monkeypatch.setattr(runtime_costs, "measure", measured)
    with pytest.raises(Stopped):
        taught.run({**SPEC, "teachers": [{"columns": "told"}], "exports": ["onnx"]}, stop=stop)


def test_networks_on_the_cpu_are_measured_without_a_copy(
    taught: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[object] = []
    monkeypatch.setattr(runtime_costs, "copy", SimpleNamespace(deepcopy=copied.append))
    report = report_of(taught.run({**SPEC, "teachers": [{"columns": "told"}], "exports": ["onnx"]}))
    assert set(report.student.runtime) == {"onnxruntime", "torch"}
    assert copied == []


def test_a_job_without_onnx_says_how_to_have_it_measured(taught: EngineHarness) -> None:
    report = report_of(taught.run({**SPEC, "teachers": [{"columns": "told"}]}))
    assert report.student.runtime == {}
    assert "add `onnx` to `exports`" in report.not_measured["runtime"]
    assert set(report.student.latency) == {"1", "64"}
