"""Students and teachers of timm and torchvision in jobs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from app.contracts.specs.architectures import MeasuredTrunk
from app.contracts.specs.jobs import JOB_SPEC
from app.contracts.wire.events import MetricsEvent
from tests.engine.harness import DATASET, SECOND, TEACHER, EngineHarness, StopAtStep, report_of, resolved
from tests.engine.models.library.networks import own, with_images
from tests.exhaustive import sample
from workers.engine.common.stop import Stopped
from workers.engine.models.build import build, file_tensors
from workers.engine.models.families.library.packages import package

SIDE = 32
TARGETS: dict[str, Any] = {"label": {"kind": "class", "classes": 3}, "size": {"kind": "value"}}
STUDENT = {"family": "timm", "name": "test_resnet"}
TRAINING = {"steps": 4, "batch_size": 16, "learning_rate": 0.002}


@pytest.fixture
def images(harness: EngineHarness) -> EngineHarness:
    """Images whose brightest channel is their class."""
    return with_images(harness, 90)


def taught(harness: EngineHarness, name: str = "test_efficientnet", **fields: Any) -> None:
    """A network of timm as a teacher, with the weights that timm draws."""
    torch.manual_seed(0)
    network = package("timm").create_model(name, num_classes=3, **fields.pop("timm", {}))
    manifest = {
        "architecture": {"family": "timm", "name": name, "input_shape": [3, SIDE, SIDE], "outputs": {"label": 3}},
        "outputs": {"label": {"kind": "class"}},
        "inputs": {"x": {"scale": 1 / 255, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}},
    }
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    harness.uploaded(tensors, {**manifest, **fields})


def distill(**fields: Any) -> dict[str, Any]:
    spec = {"kind": "distill", "target": "label", "teachers": [{"model": TEACHER}], "student": STUDENT}
    untrained = {"allow_chance_teacher": True, **fields.pop("distillation", {})}
    return {**spec, "training": TRAINING, "control": False, "distillation": untrained, **fields}


def test_a_student_has_the_bits_of_its_seed_and_continues_at_a_step_as_if_it_had_not_stopped(
    images: EngineHarness,
) -> None:
    taught(images)
    training = {**TRAINING, "steps": 6}
    images.run(distill(training=training), "whole")
    with pytest.raises(Stopped):
        images.run(distill(training=training), "parted", stop=StopAtStep(8), checkpoint_seconds=0.0)
    images.run(distill(training=training), "parted", attempt=2)
    images.run(distill(training={**training, "seed": 1}), "other")
    assert images.digest("whole") == images.digest("parted", attempt=2)
    assert images.digest("whole") != images.digest("other")


@pytest.mark.parametrize("student", sample(["test_resnet", "test_vit", "shufflenet_v2_x0_5"], ["test_vit"]))
def test_the_onnx_file_of_a_student_answers_as_the_library_does(student: str, images: EngineHarness) -> None:
    library = "torchvision" if student.startswith("shuffle") else "timm"
    network = {"family": library, "name": student}
    outcome = images.run(
        {"kind": "train", "target": "label", "model": network, "training": TRAINING, "exports": ["onnx"]}
    )
    report = report_of(outcome)
    assert report.export["onnx"].max_abs_difference < 1e-5, report.warnings
    if library == "torchvision":
        theirs = own(student, classes=3)
    else:
        sized = {"img_size": (SIDE, SIDE)} if "vit" in student else {}
        theirs = package("timm").create_model(student, num_classes=3, **sized).eval()
    theirs.load_state_dict(images.weights())
    raw = np.random.default_rng(1).integers(0, 256, (5, 3, SIDE, SIDE)).astype(np.uint8)
    transform = outcome.student.inputs["x"]
    prepared = (torch.from_numpy(raw).float() * transform.scale - torch.tensor(transform.mean)) / torch.tensor(
        transform.std
    )
    with torch.no_grad():
        expected = theirs(prepared).numpy()
    session = onnxruntime.InferenceSession(images.outputs() / "student.onnx")
    found = dict(zip([each.name for each in session.get_outputs()], session.run(None, {"x": raw}), strict=True))
    np.testing.assert_allclose(found["label.logits"], expected, atol=1e-4)


def test_layers_of_both_libraries_teach_maps_and_tokens(images: EngineHarness) -> None:
    taught(images)
    features = [
        {"method": "fitnets", "teacher_layer": "trunk.blocks.1", "student_layer": "trunk.layer2"},
        {"method": "similarity", "teacher_layer": "trunk.blocks.2", "student_layer": "trunk.layer3"},
        {"method": "rkd", "teacher_layer": "penultimate", "student_layer": "penultimate"},
    ]
    layers = {layer.name for layer in images.models[TEACHER].facts.layers}  # type: ignore[union-attr]
    assert {"trunk.blocks.1", "trunk.blocks.2", "penultimate"} <= layers
    images.run(distill(distillation={"features": features}))
    events = [event for event in images.log.events if isinstance(event, MetricsEvent)]
    recorded = {point.series for event in events for point in event.points}
    assert all(any(method in name for name in recorded) for method in ("fitnets", "similarity", "rkd")), recorded


def test_several_tasks_share_a_trunk_and_their_heads_have_our_names(images: EngineHarness) -> None:
    taught(images)
    untrained = {"allow_chance_teacher": True}
    tasks = [{"name": "label", "teachers": [{"model": TEACHER}], "distillation": untrained}, {"name": "size"}]
    spec = {"kind": "multitask", "tasks": tasks, "student": STUDENT, "training": TRAINING, "control": False}
    outcome = images.run(spec)
    weights = images.weights()
    assert {"heads.label.weight", "heads.size.bias", "layer1.0.conv1.weight"} <= weights.keys()
    images.teacher(outcome, images.folder / "job" / "attempt-1")
    again = {"kind": "distill", "target": "size", "teachers": [{"model": TEACHER, "output": "size"}]}
    images.run(
        {**again, "distillation": untrained, "student": {"family": "convnet", "channels": [4]}, "training": TRAINING},
        "next",
    )


def test_a_teacher_of_another_size_gets_the_rows_resized(images: EngineHarness) -> None:
    architecture = {"family": "timm", "name": "test_vit", "input_shape": [3, 64, 64], "outputs": {"label": 3}}
    resized = {"x": {"scale": 1 / 255, "resize": "bicubic"}}
    taught(images, "test_vit", timm={"img_size": (64, 64)}, architecture=architecture, inputs=resized)
    images.run(distill())
    assert images.models[TEACHER].facts.input_shape == (3, 64, 64)  # type: ignore[union-attr]


def test_the_defaults_of_the_recipe_know_the_size_of_a_library_network(images: EngineHarness) -> None:

    spec = JOB_SPEC.validate_json(
        json.dumps({"kind": "train", "dataset": DATASET, "target": "label", "model": STUDENT})
    )
    assert images.data is not None
    found = resolved(spec, {DATASET: images.data.facts}, {})
    assert not found.problems
    assert "parameters" in found.chosen["/training/learning_rate"].because


def test_a_copied_measurement_is_not_believed(images: EngineHarness, tmp_path: Path) -> None:
    order = images.order({"kind": "train", "target": "label", "model": STUDENT, "training": TRAINING})
    measured = order.spec.network.measured  # type: ignore[union-attr]
    assert isinstance(measured, MeasuredTrunk)
    lie = {**STUDENT, "measured": {**measured.model_dump(mode="json"), "parameters": 1}}
    again = images.order({"kind": "train", "target": "label", "model": lie, "training": TRAINING})
    assert again.spec.network.measured == measured  # type: ignore[union-attr]


PRETRAINED = {**STUDENT, "pretrained": SECOND}


def pretrained(harness: EngineHarness, outputs: dict[str, int]) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    (classes,) = outputs.values()
    network = package("timm").create_model("test_resnet", num_classes=classes)
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    architecture = {**STUDENT, "input_shape": [3, 64, 64], "outputs": outputs}
    kinds = {name: {"kind": "class"} for name in outputs}
    harness.uploaded(tensors, {"architecture": architecture, "outputs": kinds}, SECOND)
    return tensors


@pytest.mark.parametrize(("outputs", "keeps_head"), [({"label": 3}, True), ({"label": 5}, False), ({"y": 3}, False)])
def test_student_and_control_start_from_a_pretrained_model_of_another_image_size(
    outputs: dict[str, int], keeps_head: bool, images: EngineHarness
) -> None:
    taught(images)
    given = pretrained(images, outputs)
    still = {**TRAINING, "learning_rate": 1e-9, "steps": 2}
    images.run(distill(student=PRETRAINED, training=still, control=True))
    for role in ("student", "control"):
        found = images.weights(role=role)
        torch.testing.assert_close(found["layer1.0.conv1.weight"], given["layer1.0.conv1.weight"], atol=1e-6, rtol=0)
        assert (found["fc.weight"].shape == given["fc.weight"].shape) == (outputs != {"label": 5})
        same = found["fc.weight"].shape == given["fc.weight"].shape and torch.allclose(
            found["fc.weight"], given["fc.weight"], atol=1e-6
        )
        assert same == keeps_head


@pytest.mark.parametrize("student", [{"family": "timm", "name": "test_vit"}, {"family": "timm", "name": "resnet10t"}])
def test_a_pretrained_model_of_another_network_is_refused(student: dict[str, Any], images: EngineHarness) -> None:
    pretrained(images, {"label": 3})
    spec = {"kind": "train", "dataset": DATASET, "target": "label", "model": {**student, "pretrained": SECOND}}
    assert images.data is not None
    parsed = JOB_SPEC.validate_json(json.dumps(spec))
    assert [(each.kind, each.pointer) for each in parsed.references()][1] == ("model", "/model/pretrained")
    found = resolved(parsed, {DATASET: images.data.facts}, {SECOND: images.models[SECOND].facts})
    assert [(each.code, each.pointer) for each in found.problems] == [("pretrained_misfit", "/model/pretrained")]
    assert "`test_resnet`" in found.problems[0].detail


def test_a_student_of_transformers_is_loaded_by_transformers(images: EngineHarness) -> None:
    taught(images)
    config = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    student = {"family": "huggingface", "name": "vit", "config": {**config, "patch_size": 8}}
    outcome = images.run(distill(student=student))
    assert outcome.student.architecture is not None
    transformers = package("transformers")
    made = transformers.ViTConfig(**student["config"], image_size=SIDE, num_labels=3)  # type: ignore[arg-type]
    theirs = transformers.ViTForImageClassification(made).eval()
    theirs.load_state_dict(images.weights())
    rows = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    ours = build(outcome.student.architecture)
    named = file_tensors(outcome.student.architecture).names
    ours.load_state_dict({named[name]: value for name, value in images.weights().items()})
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(rows)["label"], theirs(rows).logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("relation", "pointer"),
    [
        ({"groups": [["label"], ["size"]]}, "/relation/apply"),
        ({"estimate": "tag", "apply": "trunks"}, "/relation/apply"),
        ({"search": [{"groups": [["label"], ["size"]]}, {"groups": [["label", "size"]]}]}, "/relation/search/0/apply"),
    ],
)
def test_a_relation_that_needs_several_trunks_is_refused(
    relation: dict[str, Any], pointer: str, images: EngineHarness
) -> None:
    tasks = [{"name": "label"}, {"name": "size"}]
    spec = {"kind": "multitask", "dataset": DATASET, "tasks": tasks, "student": STUDENT, "relation": relation}
    assert images.data is not None
    found = resolved(JOB_SPEC.validate_json(json.dumps(spec)), {DATASET: images.data.facts}, {})
    assert ("sharing_undefined", pointer) in [(each.code, each.pointer) for each in found.problems]
