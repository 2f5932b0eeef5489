"""The model card of a bundle, from the golden report."""

import json
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from app.db.rows import FileRow, ModelRow
from app.models.bundle.bundled import BundledModel
from app.models.bundle.card import card
from app.models.bundle.config import configuration
from app.models.bundle.figures import wilson
from app.models.bundle.parts import members_of

REPORT: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "report.json").read_text())
FACTS: dict[str, Any] = {
    "architecture": {"family": "mlp", "input_shape": [4], "hidden": [3], "outputs": {"digit": 5, "size": 1}},
    "input_shape": [4],
    "inputs": {"digit.logits": {"scale": 0.5, "mean": 0.0, "std": 1.0}},
    "raw_inputs": {
        "digit.logits": {"dtype": "float64", "shape": [4], "arranged": [4], "rows": "float32", "columns": list("dcba")}
    },
    "raw_file": {"format": "csv", "csv": {"header": False, "delimiter": ";"}},
    "outputs": {
        "digit": {"spec": {"kind": "class", "output": "logits", "classes": list("vwxyz")}, "size": 5},
        "size": {"spec": {"kind": "value", "mean": 20.0, "std": 4.0}, "size": 1},
    },
    "parameters": 1210,
    "layers": [],
}


def model(report: dict[str, Any] | None = None, *, quantized: bool = False, **manifest: Any) -> BundledModel:
    roles = {"weights": "a" * 64, "onnx": "b" * 64, "reference_rows": "c" * 64, "original": "d" * 64}
    if quantized:
        roles["int8"] = "e" * 64
    files = [FileRow(role=role, name="x", bytes=7, sha256=digest) for role, digest in roles.items()]
    row = ModelRow(id="mdl_1", name="a student", manifest=manifest, facts=FACTS, source_job_id="job_1", files=files)
    return BundledModel.of(row, report)


@pytest.mark.parametrize(("right", "rows"), [(0, 10), (18, 36), (36, 36), (9_870, 10_000)])
def test_an_accuracy_has_wilsons_interval(right: int, rows: int) -> None:
    expected = binomtest(right, rows).proportion_ci(0.975, method="wilson")
    assert wilson(right / rows, rows, 0.975) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_card_has_the_figures_of_the_report_with_intervals() -> None:
    text = card(model(REPORT)).decode()
    metrics = REPORT["student"]["tasks"]["digit"]
    low, high = wilson(metrics["accuracy"], int(metrics["rows"]), 0.975)
    assert f"| accuracy | {metrics['accuracy']:.4g} | {low:.4f} to {high:.4f} |" in text
    verdict = REPORT["verdict"]["digit"]
    assert f"{verdict['verdict']}, {verdict['metric']} differs by {verdict['difference']:.4g}" in text
    assert "- `student.onnx` in ONNX Runtime, 1 thread, batch 64: median 0.030 ms, 95th percentile 0.060 ms" in text
    assert "- `student.onnx` in ONNX Runtime, 2 threads, batch 1: median 0.010 ms" in text
    assert "- `student.onnx` in ONNX Runtime, peak memory: 9.0 MB" in text
    assert "- Warning of its job, no_validation: the last epoch's weights are exported" in text
    assert "- Not measured, ink: " in text


def test_the_licence_is_stated_or_said_to_be_missing() -> None:
    assert "Licence: MIT." in card(model(REPORT, licence="MIT")).decode()
    without = card(model(REPORT)).decode()
    assert "Licence: not stated." in without
    assert "- Passing it on, before its licence" in without


def test_a_model_without_a_report_has_no_figures_and_says_so() -> None:
    text = card(model()).decode()
    assert "Not measured: the model was uploaded or trained as a peer" in text
    assert "a known quality: none was measured here" in text
    assert "| accuracy |" not in text


def test_the_configuration_says_how_a_file_like_the_datasets_is_read() -> None:
    found = json.loads(configuration(model()))
    assert list(found["inputs"]) == ["digit.logits_input"], "an answer has the input's own name"
    assert found["inputs"]["digit.logits_input"]["columns"] == list("dcba")
    assert found["inputs"]["digit.logits_input"]["shape"] == ["batch", 4]
    assert "- `digit.logits_input`: float64 [batch, 4]; from `d`, `c`, `b`, `a`" in card(model()).decode()
    assert found["classes"] == {"digit": list("vwxyz")}
    assert found["csv"]["reader"] == {
        "fieldnames": ["0"],
        "delimiter": ";",
        "skipinitialspace": True,
        "restkey": "more",
    }


def test_equal_models_have_equal_files_and_only_those_that_a_bundle_names() -> None:
    first, second = members_of(model(REPORT)), members_of(model(REPORT))
    assert first == second
    assert list(first) == [
        "README.md", "config.json", "predict.py", "reference.npz", "student.onnx", "student.safetensors",
    ]  # fmt: skip


def test_the_card_speaks_of_no_split_that_the_dataset_has_not() -> None:
    use = {"dataset": "ds_1", "name": "digits"}
    uses = [{**use, "rows": {"train": 9, "validation": 0, "test": 0}}]
    text = card(model({**REPORT, "datasets": uses, "student": {**REPORT["student"], "tasks": {}}})).decode()
    assert "The test rows" not in text
    assert "validation rows" not in text
    assert "Not measured: the datasets have no test split, or no label in it." in text
    assert "Intervals are Wilson's" not in text
    whole = [{**use, "rows": {"train": 9, "validation": 2, "test": 3}}]
    text = card(model({**REPORT, "datasets": whole})).decode()
    assert "The test rows were used once, at the end.\nWhich epoch is kept was decided on the validation rows." in text


def test_the_card_says_where_the_figures_of_a_later_file_are() -> None:
    text = card(model({**REPORT, "quantized": {}}, quantized=True)).decode()
    assert (
        "`student.int8.onnx` was exported after the training: what it loses is in the report of its export job" in text
    )
    assert "exported after the training" not in card(model({**REPORT, "quantized": {}})).decode()


@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_the_card_says_that_answers_of_a_dynamic_file_depend_on_the_batch(method: str) -> None:
    party = {"format": "int8", "method": method, "ratio": 0.3}
    text = card(model({**REPORT, "quantized": {"student_int8": party}}, quantized=True)).decode()
    assert ("depend on the other rows of the batch" in text) == (method == "dynamic")


def test_the_card_names_the_device_and_threads_of_torch_alone() -> None:
    text = card(model(REPORT)).decode()
    assert "torch ran on cpu (x86_64) with 1 CPU thread; ONNX Runtime on the CPU of the same machine" in text
