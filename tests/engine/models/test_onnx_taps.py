"""Layers of an ONNX teacher: tapped where the graph names a tensor and its shape can be inferred."""

from pathlib import Path
from typing import Any

import torch

from app.contracts.resources.manifests import ModelManifest
from app.contracts.wire.orders import ModelInput
from tests.engine.export.earlier_exports import export_plain
from tests.engine.harness import TEACHER, EngineHarness, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING
from workers.engine.common.files import sha256_of
from workers.engine.jobs.inspection.onnx_models import inspect_onnx_model
from workers.engine.models import Network, build
from workers.engine.models.taps import TappedLayer, Taps
from workers.engine.teachers.teacher import layer_key, open_teacher


def graph_of(harness: EngineHarness) -> tuple[ModelInput, Network]:
    """A trained mlp as an ONNX teacher, and the network that it was."""
    harness.dataset()
    spec = {"kind": "train", "target": "label", "model": {"family": "mlp", "hidden": [12]}, "training": TRAINING}
    outcome = harness.run(spec, "teacher")
    assert outcome.student.architecture is not None
    network = build(outcome.student.architecture)
    network.load_state_dict(harness.weights("teacher"))
    path: Path = harness.folder / "teacher.onnx"
    export_plain(network.eval(), path, {})
    manifest = ModelManifest.model_validate_json(
        '{"name": "graph", "format": "onnx", "outputs": {"label": {"kind": "class"}}}'
    )
    facts = inspect_onnx_model(path, manifest)
    model = ModelInput(id=TEACHER, manifest=manifest, facts=facts, path=str(path), sha256=sha256_of(path))
    harness.models[TEACHER] = model
    return model, network


def hidden_layer(model: ModelInput) -> str:
    """The activation's tensor: 12 numbers a row, after the Relu."""
    assert model.facts is not None
    (found,) = [layer for layer in model.facts.layers if layer.kind == "Relu"]
    assert found.shape == (12,)
    return found.name


def test_a_tapped_tensor_is_what_torch_computes_there(harness: EngineHarness) -> None:
    model, network = graph_of(harness)
    layer = TappedLayer(hidden_layer(model))
    teacher = open_teacher(model, torch.device("cpu"), threads=1)
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    found = teacher.predict(x, [layer])
    taps = Taps(network, ["penultimate"])
    outputs = network(x)
    torch.testing.assert_close(found[layer_key(layer)], taps.take()["penultimate"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["label"], outputs["label"], rtol=1e-5, atol=1e-6)
    assert set(teacher.predict(x)) == {"label"}


def test_a_student_learns_from_a_layer_of_a_graph(harness: EngineHarness) -> None:
    model, _ = graph_of(harness)
    term: dict[str, Any] = {
        "method": "fitnets",
        "teacher_layer": hidden_layer(model),
        "student_layer": "penultimate",
        "weight": 1.0,
    }
    spec = {
        "kind": "distill",
        "target": "label",
        "teachers": [{"model": TEACHER}],
        "student": {"family": "mlp", "hidden": [5]},
        "distillation": {"soft_targets": {"method": "kd"}, "features": term},
        "training": TRAINING,
    }
    report = report_of(harness.run(spec, "student"))
    losses = [value for value in harness.log.series("train/label/fitnets") if value is not None]
    assert losses[-1] < losses[0]
    assert (report.targets[0].store, report.targets[0].passes) == ("miss", 1)
