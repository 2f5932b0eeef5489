"""A file that gives other answers is no file: the job says so by name, and keeps the student."""

import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from app.contracts.problems import UserError
from app.contracts.reports.report import OnnxCheck
from app.contracts.resources.tables import InputEncoding
from app.contracts.wire.events import WarningEvent
from tests.engine.export.raw_rows.bare_runs import TRAINING, Json, dataset_of
from tests.engine.export.raw_rows.test_ready_models import export
from tests.engine.harness import EngineHarness, blobs, report_of
from workers.engine.common.stop import Stopped
from workers.engine.export import onnx as writer
from workers.engine.export import quantized_graphs, row_nodes
from workers.engine.export.check import check_onnx
from workers.engine.export.raw_student import RawStudent
from workers.engine.export.row_nodes import RowNodes
from workers.engine.jobs.exports import quantized_files, student_graph
from workers.engine.jobs.exports.errors import export_error

SPEC: Json = {"kind": "train", "target": "label", "model": {"family": "mlp", "hidden": [4]}, "training": TRAINING}


def disturbed(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Writes metadata as onnx does, and another weight."""
    weights = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 1.01, weights.name))
    del model.metadata_props[:]
    model.metadata_props.add(key="stillhouse", value=metadata["stillhouse"])


def test_a_file_that_differs_is_left_out_and_the_student_is_kept(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.dataset()
    monkeypatch.setattr(onnx.helper, "set_model_props", disturbed)
    outcome = harness.run({**SPEC, "exports": ["onnx"]})
    report = report_of(outcome)
    assert {file.role for file in outcome.files} >= {"student", "report"}
    assert "onnx" not in {file.role for file in outcome.files}
    assert not (harness.outputs() / "student.onnx").exists()
    assert report.export == {}
    (warning,) = [event for event in harness.log.events if isinstance(event, WarningEvent) and "export" in event.code]
    assert warning.code == "export_failed"
    assert "export_mismatch" in warning.message
    assert "`label.logits` differs" in warning.message
    assert warning.code in {each["code"] for each in report.warnings}


def traced_otherwise(student: RawStudent, rows: Mapping[str, str]) -> onnx.ModelProto:
    """What torch's exporter makes, with another weight."""
    model = traced(student, rows)
    weights = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 1.01, weights.name))
    return model


traced = writer._traced
GRAPHS: Json = {**SPEC, "model": {"family": "mlp", "hidden": [64, 64]}}


@pytest.mark.parametrize("exports", [["int8"], ["onnx", "int8", "fp16"]], ids=" ".join)
def test_nothing_is_quantized_from_a_graph_that_differs(
    exports: list[str], harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.dataset()
    monkeypatch.setattr(writer, "_traced", traced_otherwise)
    outcome = harness.run({**GRAPHS, "exports": exports})
    report = report_of(outcome)
    assert {file.role for file in outcome.files}.isdisjoint({"onnx", "int8", "fp16"})
    assert not list(harness.outputs().glob("*.onnx"))
    assert report.quantized == {}
    assert report.export == {}
    messages = [each["message"] for each in report.warnings if each["code"] in ("not_quantized", "export_failed")]
    assert len(messages) == len(exports)
    assert all("(export_mismatch)" in each and "`label.logits` differs from the engine's" in each for each in messages)
    assert not any("int8" in name for name in predicted(harness))
    assert outcome.student.export_refused is not None
    assert "export_mismatch" in outcome.student.export_refused


def predicted(harness: EngineHarness) -> list[str]:
    """The names of the columns of the predictions of the test split."""
    with np.load(harness.outputs() / "predictions-test.npz") as file:
        return list(file.files)


def test_the_graph_of_several_files_is_compared_once(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[str] = []

    def counted(*args: Any, **settings: Any) -> OnnxCheck:
        kinds.append(settings.get("kind", "ONNX"))
        return check_onnx(*args, **settings)

    for each in (student_graph, quantized_files):
        monkeypatch.setattr(each, "check_onnx", counted)
    harness.dataset()
    report = report_of(harness.run({**GRAPHS, "exports": ["onnx", "int8"]}))
    assert kinds == ["ONNX", "int8"]
    assert report.export.keys() == {"onnx", "int8"}


def test_a_quantized_file_that_differs_is_called_by_its_format(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.dataset()
    monkeypatch.setattr(quantized_files, "of_raw_rows", writes_another_weight)
    outcome = harness.run({**GRAPHS, "exports": ["fp16"]})
    assert {file.role for file in outcome.files}.isdisjoint({"onnx", "fp16"})
    assert "the student has no fp16 file (export_mismatch): the fp16 file's answer `label." in refused_of(harness)
    assert "`onnx`" not in refused_of(harness)


def fails(*_: object, **__: object) -> None:
    raise RuntimeError("no such operator\nat 0x0")


@pytest.mark.parametrize(
    ("module", "function", "lost"),
    [
        (quantized_graphs, "quantize_statically", {"int8"}),
        (quantized_files, "of_raw_rows", {"int8", "fp16"}),
        (writer, "_traced", {"onnx", "int8", "fp16"}),
    ],
    ids=["quantization", "writing", "tracing"],
)
def test_an_error_of_the_exporter_costs_its_files_and_not_the_student(
    module: ModuleType, function: str, lost: set[str], harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.dataset()
    monkeypatch.setattr(module, function, fails)
    outcome = harness.run({**GRAPHS, "exports": ["onnx", "int8", "fp16"]})
    assert {"onnx", "int8", "fp16"} - {file.role for file in outcome.files} == lost
    assert "student" in {file.role for file in outcome.files}
    messages = [each["message"] for each in report_of(outcome).warnings if "(export_failed)" in each["message"]]
    assert len(messages) == len(lost)
    assert all("RuntimeError: no such operator)" in each for each in messages)


def test_an_error_of_the_exporter_costs_a_student_without_quantized_files_no_more(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.dataset()
    monkeypatch.setattr(writer, "_traced", fails)
    outcome = harness.run({**SPEC, "exports": ["onnx"]})
    assert "(export_failed): torch's exporter or ONNX Runtime failed" in refused_of(harness)
    assert outcome.student.export_refused is not None


@pytest.mark.parametrize(
    "error", [Stopped("cancel"), MemoryError(), OSError(28, "no space"), RuntimeError("std::bad_alloc")]
)
def test_a_stop_and_a_lack_of_memory_or_disk_end_the_job(error: Exception) -> None:
    with pytest.raises(type(error)):
        export_error(error)


def writes_another_weight(model: onnx.ModelProto, student: RawStudent, metadata: Mapping[str, object]) -> bytes:
    weights = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float16(1.1), weights.name))
    return writer.of_raw_rows(model, student, metadata)


def refused_of(harness: EngineHarness) -> str:
    """The only warning of an export that failed."""
    failed = [e for e in harness.log.events if isinstance(e, WarningEvent) and e.code == "export_failed"]
    (warning,) = failed
    return warning.message


def test_a_category_that_the_file_reads_otherwise_is_named_with_a_row_and_how_many(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader takes it for the category, the graph for another one: no file is better than such a file."""
    tiers = np.array(["low", "middle", "high"])[np.random.default_rng(0).integers(0, 3, size=240)]
    monkeypatch.setattr(row_nodes, "text_keys", lambda names, spelled: {"low": names.index("low")})
    harness.dataset(
        {**blobs(), "tier": tiers, "x2": tiers}, inputs={"x": {"kind": "category", "columns": ["tier", "x2"]}}
    )
    harness.run({**SPEC, "exports": ["onnx"]})
    with np.load(harness.outputs() / "predictions-test.npz") as file:
        rows = file["test/row"]
    wrong = rows[tiers[rows] != "low"]
    expected = (
        f"the column `tier` of the input `x` is read otherwise on {len(wrong)} of {len(rows)} rows, such as "
        f"`{tiers[wrong[0]]}` at row {wrong[0]}"
    )
    assert expected in refused_of(harness)


def test_a_gap_that_the_file_fills_otherwise_is_named(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = blobs()
    arrays["x"][::3, 4] = np.nan
    harness.dataset(arrays, inputs={"x": {"kind": "array", "missing": "indicator"}})
    monkeypatch.setattr(RowNodes, "_filled", filled_with_zero)
    harness.run({**SPEC, "exports": ["onnx"]})
    message = refused_of(harness)
    assert "number 4 of the input `x` is read otherwise on " in message
    assert "such as `nan` at row " in message


def filled_with_zero(nodes: RowNodes, rows: str, encoding: InputEncoding) -> str:
    assert encoding.fill is not None
    return filled(nodes, rows, encoding.model_copy(update={"fill": (0.0,) * len(encoding.fill)}))


filled = RowNodes._filled


def test_rows_that_are_written_alike_and_mean_different_categories_have_no_file_now_or_later(
    harness: EngineHarness,
) -> None:
    """A later export knows no rows of the dataset: its check of invented rows would pass."""
    path = harness.folder / "rows.jsonl"
    words = ["None", None, "red", "blue"]
    path.write_text("".join(json.dumps({"word": words[i % 4], "label": i % 3}) + "\n" for i in range(240)))
    inputs: Json = {"word": {"kind": "category"}}
    dataset_of(
        harness, path, {"format": "jsonl", "inputs": inputs, "targets": {"label": {"kind": "class", "classes": 3}}}
    )
    reason = "the column `word` has rows that are written `None` and mean different categories, `None` and none"
    warning = next(each for each in harness.order({**SPEC, "exports": ["onnx"]}).warnings if "export" in each["code"])
    assert warning["code"] == "rows_not_exportable"
    assert reason in warning["message"]
    outcome = harness.run({**SPEC, "exports": ["onnx"]}, "refused")
    assert warning["message"] in refused_of(harness)
    assert outcome.student.export_refused is not None
    assert warning["message"] in outcome.student.export_refused
    plain = harness.run(SPEC, "plain")
    assert plain.student.export_refused is None
    for name, each in (("refused", outcome), ("plain", plain)):
        model = harness.teacher(each, harness.folder / name / "attempt-1")
        with pytest.raises(UserError, match="mean different categories"):
            export(harness, model)


def test_a_network_that_no_file_holds_is_kept_as_well(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.dataset()
    monkeypatch.setattr(writer, "_LARGEST_BYTES", 100)
    outcome = harness.run({**SPEC, "exports": ["onnx"]})
    assert "export_failed" in harness.log.warnings
    assert "student" in {file.role for file in outcome.files}
