"""The same images as [channels, height, width], as flat rows and with the channels last give the same student."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.contracts.resources.facts import ModelFacts
from tests.engine.harness import DATASET, OTHER, SECOND, TEACHER, EngineHarness, report_of
from tests.engine.jobs.preflight.test_preflight import preflight
from workers.engine.teachers.teacher import open_teacher

Json = dict[str, Any]
SIDE = 6
PIXELS = 3 * SIDE * SIDE
MANIFEST: Json = {"targets": {"label": {"kind": "class", "classes": 2}}}
TRAINING: Json = {"epochs": 2, "batch_size": 32, "seed": 3}
DISTILL: Json = {
    "kind": "distill",
    "target": "label",
    "teachers": [{"model": TEACHER}],
    "student": {"family": "mlp", "hidden": [4]},
    "distillation": {"allow_chance_teacher": True},
    "training": TRAINING,
}
CHANNELS: Json = {"scale": 1 / 255, "mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}


def pictures(rows: int = 120, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (rows, 3, SIDE, SIDE)).astype(np.uint8)


def last(x: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return x.transpose(0, 2, 3, 1).copy()


def put(harness: EngineHarness, x: NDArray[np.uint8], pixels: NDArray[np.uint8], **field: Any) -> None:
    """The rows `x` with labels that depend on `pixels` [n, channels, height, width]."""
    labels = (pixels[:, 0].mean((1, 2)) > pixels[:, 1].mean((1, 2))).astype(np.int64)
    harness.dataset({"x": x, "label": labels}, inputs={"x": {"kind": "array", **field}}, **MANIFEST)


def with_teacher(harness: EngineHarness) -> EngineHarness:
    """A perceptron over [3, side, side], with statistics for each channel."""
    draw = torch.Generator().manual_seed(0)
    weights = {"layers.0.weight": torch.randn(2, PIXELS, generator=draw), "layers.0.bias": torch.zeros(2)}
    architecture = {"family": "mlp", "input_shape": [3, SIDE, SIDE], "hidden": [], "outputs": {"label": 2}}
    outputs = {"label": {"kind": "class"}}
    harness.uploaded(weights, {"architecture": architecture, "inputs": {"x": CHANNELS}, "outputs": outputs})
    return harness


def test_every_layout_of_the_same_images_gives_the_same_student(harness: EngineHarness) -> None:
    """Through distillation with its control, robustness, cost and export; statistics are those of the channels."""
    with_teacher(harness)
    x = pictures()
    weights = []
    for job, rows, field in (
        ("first", x, {}),
        ("flat", x.reshape(len(x), -1), {}),
        ("described", last(x).reshape(len(x), -1), {"shape": [SIDE, SIDE, 3], "layout": "channels_last"}),
    ):
        put(harness, rows, x, **field)
        report = report_of(harness.run(DISTILL, job))
        assert report.teachers[0].tasks["label"]["accuracy"] is not None
        weights.append(harness.weights(job))
    for other in weights[1:]:
        assert {name: value.tolist() for name, value in other.items()} == {
            name: value.tolist() for name, value in weights[0].items()
        }


@pytest.mark.parametrize("kind", ["multitask", "views", "preflight"])
def test_flat_rows_meet_the_statistics_of_a_teachers_channels_on_every_path(harness: EngineHarness, kind: str) -> None:
    with_teacher(harness)
    x = pictures()
    put(harness, x.reshape(len(x), -1), x, standardize=True)
    if kind == "multitask":
        task = {"name": "label", "teachers": DISTILL["teachers"], "distillation": DISTILL["distillation"]}
        harness.run({"kind": "multitask", "tasks": [task], "student": DISTILL["student"], "training": TRAINING})
    elif kind == "preflight":
        assert preflight(harness, DISTILL).would_fail == ()
    else:
        views = {"seed": 1, "transforms": [{"kind": "shift", "pixels": 1}]}
        student = {"family": "convnet", "channels": [2], "input_shape": [3, SIDE, SIDE]}
        harness.run({**DISTILL, "student": student, "training": {**TRAINING, "views": views}})


def test_a_teacher_with_its_channels_last_answers_on_rows_that_have_them_first(harness: EngineHarness) -> None:
    with_teacher(harness)
    first = open_teacher(harness.models[TEACHER], torch.device("cpu"), 1)
    weight = first.network.head("label").weight if first.network is not None else torch.empty(0)
    moved = weight.reshape(2, 3, SIDE, SIDE).permute(0, 2, 3, 1).reshape(2, -1).contiguous()
    architecture = {"family": "mlp", "input_shape": [SIDE, SIDE, 3], "hidden": [], "outputs": {"label": 2}}
    inputs = {"x": {**CHANNELS, "layout": "channels_last"}}
    tensors = {"layers.0.weight": moved, "layers.0.bias": torch.zeros(2)}
    manifest = {"architecture": architecture, "inputs": inputs, "outputs": {"label": {"kind": "class"}}}
    second = open_teacher(harness.uploaded(tensors, manifest, SECOND), torch.device("cpu"), 1)
    raw = torch.from_numpy(pictures())
    torch.testing.assert_close(second.predict(raw), first.predict(raw), rtol=0, atol=1e-4)


def test_datasets_of_two_layouts_are_joined(harness: EngineHarness) -> None:
    with_teacher(harness)
    one, two = pictures(), pictures(seed=1)
    put(harness, one, one)
    labels = (two[:, 0].mean((1, 2)) > two[:, 1].mean((1, 2))).astype(np.int64)
    field = {"kind": "array", "layout": "channels_last"}
    harness.another({"x": last(two), "label": labels}, inputs={"x": field}, **MANIFEST)
    spec = {**DISTILL, "datasets": [{"dataset": DATASET}, {"dataset": OTHER}]}
    assert report_of(harness.run(spec)).teachers[0].tasks["label"]["accuracy"] is not None


def test_a_student_of_standardised_flat_rows_teaches_in_its_own_shape(harness: EngineHarness) -> None:
    """Its statistics, one for each number of a flat row, go with the shape that it reads."""
    x = pictures()
    put(harness, x.reshape(len(x), -1), x, standardize=True)
    network = {"family": "convnet", "channels": [2], "input_shape": [3, SIDE, SIDE]}
    outcome = harness.run({"kind": "train", "target": "label", "model": network, "training": TRAINING}, "teaching")
    model = harness.teacher(outcome, harness.folder / "teaching" / "attempt-1")
    assert model.facts is not None
    ModelFacts.model_validate_json(model.facts.model_dump_json())
    teacher = open_teacher(model, torch.device("cpu"), 1)
    flat = teacher.predict(torch.from_numpy(x.reshape(len(x), -1)))["label"]
    assert torch.equal(flat, teacher.predict(torch.from_numpy(x))["label"])
    put(harness, last(x), x, layout="channels_last")
    report_of(harness.run(DISTILL))
