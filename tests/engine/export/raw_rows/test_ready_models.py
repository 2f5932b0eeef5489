"""A ready model as ONNX: a student takes the rows that it was trained on, an upload those of its manifest."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.graph_inputs import graph_inputs
from app.contracts.resources.manifests import ModelManifest
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.jobs import ExportJob
from app.contracts.wire.orders import ExportOutcome, ModelInput, Order
from tests.engine.export.raw_rows import test_tables as tables
from tests.engine.export.raw_rows.bare_runs import SPLITS, Json, answers, stated
from tests.engine.export.raw_rows.test_arrays import CASES, CLASSES, labelled
from tests.engine.harness import TEACHER, EngineHarness, StopAtStep
from tests.exhaustive import sample
from workers.engine.models import build, initialise
from workers.engine.run import execute

CHANNELS_LAST: Json = {
    "architecture": {"family": "mlp", "input_shape": [4, 4, 3], "hidden": [6], "outputs": {"y": 3}},
    "inputs": {"x": {"scale": 0.1, "mean": [1.0, 2.0, 3.0], "std": 2.0, "layout": "channels_last"}},
    "outputs": {"y": {"kind": "class"}},
}
CATEGORIES: Json = {
    "architecture": {"family": "mlp", "input_shape": [5], "hidden": [6], "outputs": {"y": 3}},
    "inputs": {
        "x": {"encoding": {"columns": ["a", "b"], "encoding": "one_hot", "categories": [["red"], ["1", "2"]]}},
    },
    "outputs": {"y": {"kind": "class", "output": "energies"}},
}
SEVERAL: Json = {
    "architecture": {"family": "mlp", "input_shape": [8], "hidden": [6], "outputs": {"y": 1, "odds": 2}},
    "inputs": {
        "gaps": {"shape": [4], "encoding": {"columns": ["a", "b"], "missing": "indicator", "fill": [3.0, 4.0]}},
        "far": {"shape": [4], "mean": 1.7e9, "std": 20.0},
    },
    "outputs": {"y": {"kind": "value", "mean": 7.0, "std": 3.0}, "odds": {"kind": "multilabel"}},
}


def export(harness: EngineHarness, model: ModelInput) -> Path:
    """Run the export job of a model."""
    folder = harness.folder / "export"
    spec = ExportJob(model=TEACHER, format="onnx")
    order = Order(
        job="export", attempt=1, spec=spec, models={TEACHER: model}, device="cpu", threads=1, attempt_dir=str(folder),
        checkpoints_dir=str(folder), cache_dir=str(folder), cache_bytes=0,
    )  # fmt: skip
    outcome = execute(order, harness.log.emit, StopAtStep(1 << 60))
    assert isinstance(outcome, ExportOutcome)
    return folder / "outputs" / outcome.files[0].path


def uploaded(harness: EngineHarness, manifest: Json) -> ModelInput:
    """An upload with random weights."""
    network = build(architecture_of(manifest))
    initialise(network, seed=1)
    return harness.uploaded(dict(network.state_dict()), manifest)


def architecture_of(manifest: Json) -> Architecture:
    """The architecture of a manifest."""
    text = json.dumps({"name": "own", "format": "safetensors", **manifest})
    found = ModelManifest.model_validate_json(text).architecture
    assert found is not None
    return found


def check_stated(facts: ModelFacts | None, path: Path) -> None:
    """What a model's answer says of the file's inputs is what the file has."""
    assert facts is not None
    types = {"tensor(float)": "float32", "tensor(double)": "float64"}
    found = {
        each.name: (types.get(each.type, each.type[len("tensor(") : -1]), tuple(each.shape[1:]))
        for each in onnxruntime.InferenceSession(path).get_inputs()
    }
    assert found == {each.input: (each.dtype, each.shape) for each in graph_inputs(facts).values()}
    assert all(each.transform_in_graph and each.refused is None for each in graph_inputs(facts).values())


def test_an_input_that_is_called_as_an_answer_has_another_name_in_the_file(harness: EngineHarness) -> None:
    manifest: Json = {
        "architecture": {"family": "mlp", "input_shape": [2], "hidden": [2], "outputs": {"y": 1}},
        "inputs": {"y.value": {"scale": 2.0}},
        "outputs": {"y": {"kind": "value"}},
    }
    model = uploaded(harness, manifest)
    assert model.facts is not None
    assert graph_inputs(model.facts)["y.value"].input == "y.value_input"
    check_stated(model.facts, export(harness, model))


@pytest.mark.parametrize("name", sample(CASES, ["colours, channels last", "seconds far from zero"]))
def test_a_student_exported_after_its_job_takes_the_same_rows(name: str, harness: EngineHarness) -> None:
    x, spec, model = CASES[name]
    harness.dataset(labelled(x), inputs={"x": {"kind": "array", **spec}}, targets=CLASSES, **SPLITS)
    outcome = harness.run({"kind": "train", "model": model, "training": {"epochs": 2}, "exports": ["onnx"]})
    path = export(harness, harness.teacher(outcome, harness.folder / "job" / "attempt-1"))
    check_stated(outcome.student, path)
    first, second = (answers(each, {"x": x}) for each in (harness.outputs() / "student.onnx", path))
    for answer, values in first.items():
        np.testing.assert_array_equal(values, second[answer])
    assert stated(path) == stated(harness.outputs() / "student.onnx")
    assert "## Quality on the test split" in stated(path)["card"]


def test_a_student_of_a_table_is_exported_with_its_categories_and_fills(harness: EngineHarness) -> None:
    tables.table("csv", harness, numbers=tables.NUMBERS, words=tables.CATEGORIES)
    outcome = harness.run({**tables.TASKS, "training": {"epochs": 2}, "exports": ["onnx"]})
    raw = {"numbers": tables.numbers(), "words": tables.categories()}
    first = answers(harness.outputs() / "student.onnx", raw)
    path = export(harness, harness.teacher(outcome, harness.folder / "job" / "attempt-1"))
    second = answers(path, raw)
    check_stated(outcome.student, path)
    stated_inputs = graph_inputs(outcome.student)
    assert stated_inputs["numbers"].columns == ("count", "price", "gaps", "when", "flag")
    assert stated_inputs["numbers"].missing == "mean"
    assert stated_inputs["words"].columns == ("colour", "plan", "tier")
    assert stated_inputs["words"].categories == (
        ("blue", "green", "red", "violet"),
        ("1", "2", "3"),
        ("0.5", "1", "2.5"),
    )
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_an_upload_takes_the_rows_of_its_own_shape(harness: EngineHarness) -> None:
    model = uploaded(harness, CHANNELS_LAST)
    path = export(harness, model)
    (source,) = onnxruntime.InferenceSession(path).get_inputs()
    assert (source.name, source.type, source.shape) == ("x", "tensor(float)", ["batch", 4, 4, 3])
    check_stated(model.facts, path)
    rows = np.random.default_rng(0).normal(size=(7, 4, 4, 3)).astype(np.float32)
    network = build(architecture_of(CHANNELS_LAST))
    initialise(network, seed=1)
    standard = (rows * 0.1 - np.array([1.0, 2.0, 3.0])) / 2.0
    with torch.no_grad():
        expected = network(torch.from_numpy(standard).float())["y"]
    np.testing.assert_allclose(answers(path, {"x": rows})["y.logits"], expected.numpy(), atol=1e-5)


def test_an_upload_of_categories_takes_text(harness: EngineHarness) -> None:
    model = uploaded(harness, CATEGORIES)
    path = export(harness, model)
    check_stated(model.facts, path)
    rows = np.array([["red", "2"], ["blue", "1"], ["red", "?"]], dtype=object)
    encoded = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]).float()
    network = build(architecture_of(CATEGORIES))
    initialise(network, seed=1)
    with torch.no_grad():
        energies = network(encoded)["y"]
    found = answers(path, {"x": rows})
    np.testing.assert_allclose(found["y.logits"], -energies.numpy(), atol=1e-6)
    np.testing.assert_allclose(found["y.probabilities"], torch.softmax(-energies, 1).numpy(), atol=1e-6)


def test_an_upload_of_several_inputs_keeps_large_offsets_and_fills_gaps(harness: EngineHarness) -> None:
    model = uploaded(harness, SEVERAL)
    path = export(harness, model)
    check_stated(model.facts, path)
    types = {each.name: (each.type, each.shape) for each in onnxruntime.InferenceSession(path).get_inputs()}
    assert types == {"gaps": ("tensor(float)", ["batch", 2]), "far": ("tensor(double)", ["batch", 4])}
    gaps = np.array([[1.0, np.nan], [np.nan, 5.0]], np.float32)
    far = 1.7e9 + np.array([[1.0, 2.0, 30.0, 4.0], [0.5, 0.25, -20.0, 0.0]])
    joined = np.concatenate([[[1.0, 4.0, 0.0, 1.0], [3.0, 5.0, 1.0, 0.0]], (far - 1.7e9) / 20.0], axis=1)
    network = build(architecture_of(SEVERAL))
    initialise(network, seed=1)
    with torch.no_grad():
        outputs = network(torch.from_numpy(joined).float())
    found = answers(path, {"gaps": gaps, "far": far})
    np.testing.assert_allclose(found["y.value"], outputs["y"].numpy() * 3.0 + 7.0, atol=1e-5)
    np.testing.assert_allclose(found["odds.probabilities"], torch.sigmoid(outputs["odds"]).numpy(), atol=1e-6)


CARDS: dict[str, tuple[Json, list[str], list[str]]] = {
    "categories": (CATEGORIES, ["rows as `inputs` describes them", "`a`, `b`; categories as text"], ["NaN", "1970"]),
    "images": (CHANNELS_LAST, ["float32 [batch, 4, 4, 3]; numbers; NaN gives NaN, and infinity NaN"], ["1970", "file"]),
    "gaps with indicators": (
        SEVERAL,
        [
            "NaN is filled with the mean of the training rows, and each number has an indicator of it",
            "`far`: float64 [batch, 4]; numbers; NaN gives NaN, and infinity NaN. Booleans are 0 and 1, dates",
        ],
        ["filled by", "as they stand"],
    ),
}


@pytest.mark.parametrize("case", CARDS)
def test_a_card_says_of_an_upload_what_is_true_of_it(case: str, harness: EngineHarness) -> None:
    manifest, said, unsaid = CARDS[case]
    card = stated(export(harness, uploaded(harness, manifest)))["card"]
    assert card.startswith("# A network of the family `mlp`\n")
    assert [each for each in said if each not in card] == []
    assert [each for each in unsaid if each in card] == []
