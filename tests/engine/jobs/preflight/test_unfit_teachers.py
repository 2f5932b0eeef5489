"""Teachers that do not fit the rows: every kind, as a model and as columns, in the job and in its preflight alike."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from app.contracts.problems import UserError
from app.contracts.wire.orders import ModelInput
from tests.engine.harness import STUDENT, TEACHER, Arrays, EngineHarness, blobs
from tests.engine.jobs.inspection.onnx_graphs import graph, inspected, onnx_manifest, value
from tests.engine.jobs.preflight.test_preflight import failures, preflight
from tests.engine.plain_training import others

ROWS = 240
TRAINING: dict[str, Any] = {"epochs": 1, "batch_size": 64}
PREDICTS: dict[str, dict[str, Any]] = {
    "class": {"kind": "class"},
    "value": {"kind": "value"},
    "vector": {"kind": "vector"},
    "multilabel": {"kind": "multilabel"},
}


def arrays(kind: str, labelled: bool, fitting: bool) -> Arrays:
    """Rows with a target `y`, and the outputs of a teacher in `told`."""
    found, draw = blobs(ROWS), np.random.default_rng(5)
    x = found["x"]
    if kind == "class":
        y: Any = found["label"]
        told = np.eye(3)[y] * 4.0 + draw.normal(size=(ROWS, 3))
        y = y if labelled else np.full(ROWS, -1)
    else:
        y = {"value": x[:, :1] * 3.0, "vector": x[:, :3], "multilabel": (x[:, :3] > 0).astype(np.float32)}[kind]
        told = y + 0.2 * draw.normal(size=y.shape)
        y = y if labelled else np.full(y.shape, np.nan)
        y = y[:, 0] if kind == "value" else y
    return {"x": x, "y": y, "told": told if fitting else draw.normal(size=told.shape)}


def add_columns(harness: EngineHarness, kind: str, labelled: bool = True, fitting: bool = True) -> None:
    target = {"kind": "class", "classes": 3} if kind == "class" else {"kind": kind}
    targets = {"y": target, "told": {"kind": "teacher", "predicts": PREDICTS[kind]}}
    harness.dataset(arrays(kind, labelled, fitting), targets=targets)


def spec(**teacher: Any) -> dict[str, Any]:
    chosen = teacher or {"columns": "told"}
    return {"kind": "distill", "target": "y", "teachers": [chosen], "student": STUDENT, "training": TRAINING}


def outcome(harness: EngineHarness, job: dict[str, Any]) -> tuple[list[tuple[str, str]], list[str]]:
    """(errors, warnings about teachers) of the job, which its preflight foresees in the same words."""
    report = preflight(harness, job)
    foreseen = [(each.code, each.message) for each in report.would_fail]
    try:
        harness.run(job, "real")
        errors = []
    except UserError as error:
        errors = [(error.code, error.message)]
    assert foreseen == errors
    warnings = [code for code in others(harness.log.warnings) if code.startswith("teacher_")]
    assert [each["code"] for each in report.warnings if each["code"].startswith("teacher_")] == warnings or errors
    return errors, warnings


@pytest.mark.parametrize("kind", PREDICTS)
def test_columns_that_have_nothing_to_do_with_the_labels_are_refused(harness: EngineHarness, kind: str) -> None:
    add_columns(harness, kind, fitting=False)
    ((code, message),), _ = outcome(harness, spec())
    assert code == "teacher_mismatch"
    assert "allow_chance_teacher" in message
    allowed = spec() | {"distillation": {"allow_chance_teacher": True}}
    assert outcome(harness, allowed) == ([], ["teacher_mismatch"])


@pytest.mark.parametrize("kind", PREDICTS)
def test_columns_that_fit_teach_without_a_warning(harness: EngineHarness, kind: str) -> None:
    add_columns(harness, kind)
    assert outcome(harness, spec()) == ([], [])


@pytest.mark.parametrize("kind", PREDICTS)
def test_without_labels_the_job_and_the_report_say_that_nothing_could_be_compared(
    harness: EngineHarness, kind: str
) -> None:
    add_columns(harness, kind, labelled=False)
    assert outcome(harness, spec()) == ([], ["teacher_unchecked"])


def test_columns_of_a_rare_class_that_never_predict_it_teach(harness: EngineHarness) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2000, 4))
    p = 1.0 / (1.0 + np.exp(4.2 - 1.3 * x[:, 0]))
    y = (draw.random(2000) < p).astype(np.int64)
    predicts = {"kind": "class", "output": "probabilities"}
    targets = {"y": {"kind": "class", "classes": 2}, "told": {"kind": "teacher", "predicts": predicts}}
    harness.dataset({"x": x, "y": y, "told": np.stack([1 - p, p], axis=1)}, targets=targets)
    assert outcome(harness, spec()) == ([], [])
    (check,) = preflight(harness, spec(), name="again").teachers
    assert check.at_chance is False
    harness.dataset({"x": x, "y": y, "told": np.stack([p, 1 - p], axis=1)}, targets=targets)
    assert [code for code, _ in outcome(harness, spec())[0]] == ["teacher_mismatch"]


def linear(weight: torch.Tensor, bias: float) -> dict[str, torch.Tensor]:
    return {"layers.0.weight": weight, "layers.0.bias": torch.tensor([bias])}


def family_model(harness: EngineHarness, weight: torch.Tensor, bias: float, **output: Any) -> None:
    """A linear model of one value of six numbers."""
    architecture = {"family": "mlp", "input_shape": [6], "hidden": [], "outputs": {"y": 1}}
    manifest = {"architecture": architecture, "outputs": {"y": {"kind": "value", **output}}}
    harness.uploaded(linear(weight, bias), manifest)


def onnx_model(harness: EngineHarness, weight: torch.Tensor, bias: float, **output: Any) -> None:
    """The same as a graph."""
    weights = {"w": weight.T.numpy().copy(), "b": np.array([bias], np.float32)}
    nodes = [onnx.helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
    made = graph(*nodes, inputs=[value("x", ["n", 6])], outputs=[value("y", ["n", 1])], weights=weights)
    outputs = {"y": {"kind": "value", **output}}
    facts = inspected(made, harness.folder, outputs=outputs)
    path, manifest = str(harness.folder / "model.onnx"), onnx_manifest(outputs=outputs)
    harness.models[TEACHER] = ModelInput(id=TEACHER, manifest=manifest, facts=facts, path=path, sha256="0" * 64)


@pytest.mark.parametrize("add", [family_model, onnx_model])
def test_a_model_of_values_is_compared_and_its_forgotten_scale_named(harness: EngineHarness, add: Any) -> None:
    add_columns(harness, "value")
    weight = torch.zeros(1, 6)
    weight[0, 0] = 3.0 / 7.0
    add(harness, weight, -11.0, mean=77.0, std=7.0)
    assert outcome(harness, spec(model=TEACHER)) == ([], [])
    add(harness, weight, -11.0)
    ((code, message),), _ = outcome(harness, spec(model=TEACHER))
    assert code == "teacher_mismatch"
    assert "with `mean` 77 and `std` 7 of its output R2 is 1" in message


def test_a_model_whose_random_rows_looked_right_is_refused_at_the_first_pass_over_real_rows(
    harness: EngineHarness, tmp_path: Path
) -> None:
    """Declared probabilities p = (0.5 + c, 0.5 − c) with c = 1e-9 x: real rows are a billion times larger."""
    x = (np.random.default_rng(0).normal(size=(ROWS, 4)) * 1e9).astype(np.float32)
    harness.dataset({"x": x, "y": np.arange(ROWS) % 2}, targets={"y": {"kind": "class", "classes": 2}})
    weights = {"w": np.array([[1e-9, -1e-9]] * 4, np.float32), "b": np.full(2, 0.5, np.float32)}
    outputs = {"y": {"kind": "class", "output": "probabilities"}}
    facts = inspected(graph(weights=weights), tmp_path, outputs=outputs)
    path, manifest = str(tmp_path / "model.onnx"), onnx_manifest(outputs=outputs)
    harness.models[TEACHER] = ModelInput(id=TEACHER, manifest=manifest, facts=facts, path=path, sha256="0" * 64)
    ((code, message),), _ = outcome(harness, spec(model=TEACHER))
    assert code == "wrong_output"
    assert "declared as probabilities" in message
    assert failures(preflight(harness, spec(model=TEACHER), name="again")) == ["wrong_output"]
