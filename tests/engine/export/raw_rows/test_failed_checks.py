"""A file that gives other answers is no file: the job says so by name, and keeps the student."""

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from app.contracts.problems import UserError
from app.contracts.wire.events import WarningEvent
from tests.engine.export.raw_rows.bare_runs import TRAINING, Json
from tests.engine.export.raw_rows.test_ready_models import export
from tests.engine.harness import TEACHER, EngineHarness, blobs, report_of
from workers.engine.export import onnx as writer

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


def test_a_category_that_is_written_in_no_usual_way_is_found_by_the_check(harness: EngineHarness) -> None:
    """The reader takes it for the category, the graph for another one: no file is better than such a file."""
    tiers = np.array(["0.50000", "1.5", "2"])[np.random.default_rng(0).integers(0, 3, size=240)]
    arrays = {**blobs(), "tier": tiers}
    harness.dataset(arrays, inputs={"tier": {"kind": "category"}})
    harness.run({**SPEC, "exports": ["onnx"]})
    assert "export_failed" in harness.log.warnings
    arrays["tier"] = np.char.replace(tiers, "0.50000", "0.50")
    harness.dataset(arrays, inputs={"tier": {"kind": "category"}})
    assert report_of(harness.run({**SPEC, "exports": ["onnx"]}, "usual")).export["onnx"].classes_changed == 0


def test_a_student_whose_file_differed_has_none_later_either(harness: EngineHarness) -> None:
    """A later export knows no rows of the dataset: its check of invented rows would pass."""
    tiers = np.array(["0.50000", "1.5", "2"])[np.random.default_rng(0).integers(0, 3, size=240)]
    harness.dataset({**blobs(), "tier": tiers}, inputs={"tier": {"kind": "category"}})
    outcome = harness.run({**SPEC, "exports": ["onnx"]}, "refused")
    assert outcome.student.export_refused is not None
    harness.teacher(outcome, harness.folder / "refused" / "attempt-1")
    with pytest.raises(UserError) as caught:
        export(harness, harness.models[TEACHER])
    assert caught.value.code == "export_mismatch"
    assert caught.value.message == outcome.student.export_refused
    assert harness.run(SPEC, "plain").student.export_refused is None


def test_a_network_that_no_file_holds_is_kept_as_well(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.dataset()
    monkeypatch.setattr(writer, "_LARGEST_BYTES", 100)
    outcome = harness.run({**SPEC, "exports": ["onnx"]})
    assert "export_failed" in harness.log.warnings
    assert "student" in {file.role for file in outcome.files}
