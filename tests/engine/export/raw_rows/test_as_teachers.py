"""Exported files uploaded again as teachers: read as what they are, whichever version wrote them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from app.contracts.resources.manifests import ValueOutput
from app.contracts.wire.orders import ModelInput
from tests.engine.export.earlier_exports import export_plain
from tests.engine.export.raw_rows import test_tables as tables
from tests.engine.export.raw_rows.bare_runs import SPLITS, Json, trained
from tests.engine.export.raw_rows.test_arrays import CASES, CLASSES, case, labelled
from tests.engine.harness import TEACHER, EngineHarness, blobs, report_of
from tests.engine.jobs.inspection.onnx_graphs import onnx_manifest
from tests.exhaustive import sample
from workers.engine.common.files import sha256_of
from workers.engine.data.reading import read_dataset
from workers.engine.jobs.inspection.onnx_models import CONVERTED, inspect_onnx_model
from workers.engine.models import build
from workers.engine.teachers.teacher import open_teacher

CPU = torch.device("cpu")
TEACHERS = [{"model": TEACHER}]


def uploaded(harness: EngineHarness, path: Path, **manifest: Any) -> ModelInput:
    """Upload a file as the teacher."""
    parsed = onnx_manifest(**{"outputs": {"y": {"kind": "class", "classes": ["low", "middle", "high"]}}, **manifest})
    folder = harness.folder / "inspection"
    facts = inspect_onnx_model(path, parsed, folder)
    own = folder / CONVERTED if (folder / CONVERTED).exists() else path
    model = ModelInput(id=TEACHER, manifest=parsed, facts=facts, path=str(own), sha256=sha256_of(own))
    harness.models[TEACHER] = model
    return model


def codes(model: ModelInput) -> list[str]:
    assert model.facts is not None
    return [warning["code"] for warning in model.facts.warnings]


def predicted(harness: EngineHarness, model: ModelInput, output: str) -> Tensor:
    """What the teacher says of the test rows."""
    assert harness.data is not None
    dataset = read_dataset(Path(harness.data.path), harness.data.manifest)
    return open_teacher(model, CPU, 1, dataset.layout).predict(dataset.raw[dataset.splits["test"]])[output]


def student(harness: EngineHarness, task: str) -> Any:
    """What the exported student says of them."""
    with np.load(harness.outputs() / "predictions-test.npz") as file:
        return file[f"test/{task}/student"]


@pytest.mark.parametrize(
    "name",
    sample(CASES, ["colours, channels last", "seconds far from zero", "gaps with indicators"]),
)
def test_an_export_teaches_on_the_rows_that_it_was_trained_on(name: str, harness: EngineHarness) -> None:
    case(harness, name)
    teacher = uploaded(harness, harness.outputs() / "student.onnx")
    assert codes(teacher) == []
    assert teacher.facts is not None
    transform = teacher.facts.inputs["x"]
    assert (transform.scale, transform.mean, transform.std, transform.layout) == (1.0, 0.0, 1.0, None)
    np.testing.assert_allclose(predicted(harness, teacher, "y").numpy(), student(harness, "y"), rtol=0, atol=1e-4)


def test_an_export_of_a_table_teaches_by_the_encoding_of_the_dataset(harness: EngineHarness) -> None:
    tables.table("csv", harness, numbers=tables.NUMBERS, words=tables.CATEGORIES)
    report = trained(harness, tables.TASKS)
    expected = student(harness, "y")
    outputs = {"y": {"kind": "class", "classes": ["no", "yes"]}, "price_next": {"kind": "value"}}
    teacher = uploaded(harness, harness.outputs() / "student.onnx", outputs=outputs)
    assert teacher.facts is not None
    assert teacher.facts.inputs["words"].encoding is not None
    np.testing.assert_allclose(predicted(harness, teacher, "y").numpy(), expected, rtol=0, atol=1e-4)
    spec: Json = {"kind": "distill", "target": "y", "teachers": TEACHERS, "student": tables.MODEL}
    spec["distillation"] = {"allow_chance_teacher": True}
    outcome = harness.run({**spec, "training": {"epochs": 1}}, "distilled")
    assert report_of(outcome).teachers[0].tasks["y"]["accuracy"] == report.student.tasks["y"]["accuracy"]


def test_probabilities_are_an_output_like_others(harness: EngineHarness) -> None:
    harness.dataset(labelled(CASES["pixels"][0]), inputs={"x": {"kind": "array", "shape": [1, 8, 8]}}, targets=CLASSES)
    trained(harness, {"kind": "train", "model": CASES["pixels"][2]})
    path = harness.outputs() / "student.onnx"
    teacher = uploaded(harness, path, outputs={"y": {"kind": "class", "output": "probabilities"}})
    assert teacher.facts is not None
    assert teacher.facts.graph_outputs == {"y": "y.probabilities"}
    sums = predicted(harness, teacher, "y").sum(1)
    np.testing.assert_allclose(sums.numpy(), 1.0, atol=1e-5)
    by_name = uploaded(harness, path, outputs={"y.logits": {"kind": "class"}})
    assert by_name.facts is not None
    assert by_name.facts.graph_outputs == {"y.logits": "y.logits"}
    renamed = uploaded(harness, path, outputs={"answer": {"kind": "class"}}, inputs={"pixels": {}})
    assert renamed.facts is not None
    assert renamed.facts.graph_outputs == {"answer": "y.logits"}
    assert list(renamed.facts.inputs) == ["pixels"]


def test_a_manifest_that_says_the_transform_again_does_not_apply_it_again(harness: EngineHarness) -> None:
    """As one that was copied from the student's own manifest."""
    arrays = blobs(160)
    harness.dataset(arrays, inputs={"x": {"kind": "array", "standardize": True}}, **SPLITS)
    spec: Json = {"kind": "multitask", "tasks": [{"name": "label"}, {"name": "size"}], "exports": ["onnx"]}
    outcome = harness.run({**spec, "student": {"family": "mlp", "hidden": [4]}, "training": {"epochs": 1}})
    own = json.loads(outcome.student_manifest.model_dump_json(include={"inputs", "outputs"}))
    teacher = uploaded(harness, harness.outputs() / "student.onnx", **own)
    assert codes(teacher) == ["units_in_graph", "transform_in_graph"]
    assert teacher.facts is not None
    assert teacher.facts.outputs["size"].spec == ValueOutput(kind="value")
    for task in ("label", "size"):
        expected = student(harness, task)
        found = predicted(harness, teacher, task).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_the_scale_of_the_datasets_manifest_is_not_applied_again(harness: EngineHarness) -> None:
    """The graph has that scale, and the statistics that the inspection added to it."""
    scaled = {"x": {"kind": "array", "scale": 0.25, "standardize": True}}
    harness.dataset(labelled(CASES["columns of other scales"][0]), inputs=scaled, targets=CLASSES, **SPLITS)
    trained(harness, {"kind": "train", "model": {"family": "mlp", "hidden": [4]}})
    teacher = uploaded(harness, harness.outputs() / "student.onnx", inputs={"x": {"scale": 0.25}})
    assert codes(teacher) == ["transform_in_graph"]
    np.testing.assert_allclose(predicted(harness, teacher, "y").numpy(), student(harness, "y"), rtol=0, atol=1e-4)


def test_a_transform_of_the_manifests_own_comes_before_that_of_the_graph(harness: EngineHarness) -> None:
    """For rows that are in another unit than those that were uploaded."""
    case(harness, "columns of other scales")
    x = CASES["columns of other scales"][0]
    teacher = uploaded(harness, harness.outputs() / "student.onnx", inputs={"x": {"scale": 1000.0}})
    assert codes(teacher) == ["transform_in_graph"]
    harness.dataset(labelled(x / 1000.0), inputs={"x": {"kind": "array"}}, targets=CLASSES, **SPLITS)
    found = predicted(harness, teacher, "y").numpy()
    np.testing.assert_allclose(found, student(harness, "y"), rtol=0, atol=1e-3)


def test_a_file_of_an_earlier_version_begins_after_the_transform_that_it_states(harness: EngineHarness) -> None:
    x, spec, model = CASES["columns of other scales"]
    harness.dataset(labelled(x), inputs={"x": {"kind": "array", **spec}}, targets=CLASSES, **SPLITS)
    outcome = harness.run({"kind": "train", "model": model, "training": {"epochs": 2}})
    assert outcome.student.architecture is not None
    network = build(outcome.student.architecture)
    network.load_state_dict(harness.weights())
    inputs = {"x": outcome.student.inputs["x"].model_dump(mode="json")}
    path = harness.folder / "earlier.onnx"
    export_plain(network, path, {"version": 1, "inputs": inputs, "outputs": {"y": {"kind": "class"}}})
    teacher = uploaded(harness, path)
    assert codes(teacher) == ["inputs_taken"]
    np.testing.assert_allclose(predicted(harness, teacher, "y").numpy(), student(harness, "y"), rtol=0, atol=1e-4)


@pytest.mark.parametrize("damage", ["no rows", "no form", "wrong form", "other input"])
def test_metadata_that_do_not_fit_their_graph_are_not_believed(damage: str, harness: EngineHarness) -> None:
    """A stranger's file may say anything: it is read as any graph, or refused, and never crashes."""
    case(harness, "columns of other scales")
    graph = onnx.load(harness.outputs() / "student.onnx")
    document = json.loads(graph.metadata_props[0].value)
    if damage == "no rows":
        for node in graph.graph.node:
            node.input[:] = ["rows" if name == "x/rows" else name for name in node.input]
            node.output[:] = ["rows" if name == "x/rows" else name for name in node.output]
    elif damage == "no form":
        del document["inputs"]["x"]["form"]
    elif damage == "wrong form":
        document["inputs"]["x"]["form"] = {"dtype": "complex"}
    else:
        document["inputs"]["z"] = document["inputs"].pop("x")
    graph.metadata_props[0].value = json.dumps(document)
    path = harness.folder / "damaged.onnx"
    onnx.save(graph, path)
    teacher = uploaded(harness, path)
    assert teacher.facts is not None
    assert teacher.facts.input_types == {"x": "float64"}
