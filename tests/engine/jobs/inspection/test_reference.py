"""Reference rows: reproduced, or the model is rejected with the largest difference and where it begins to differ."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import Tensor

from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.manifests import ModelManifest
from tests.engine.jobs.inspection.onnx_graphs import GEMM, W, graph, inspected, value
from tests.engine.jobs.inspection.uploads import MLP, forward, refused, weights
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.models import build, initialise

RAW = torch.randint(0, 256, (5, 4), generator=torch.Generator().manual_seed(0)).float()
TRANSFORM = {"scale": 1 / 255, "mean": 0.4, "std": 0.2}


def transformed(x: Tensor) -> Tensor:
    return (x / 255 - 0.4) / 0.2


def inspect_mlp(folder: Path, rows: Tensor, answers: Tensor, unit: float = 1.0, **manifest: Any) -> ModelFacts:
    """Inspect the perceptron with its outputs times `unit`."""
    parameters = {name: value * (unit if name.startswith("layers.1") else 1.0) for name, value in weights().items()}
    save_file(parameters, folder / "model.safetensors")
    reference = {"inputs": {"x": rows.tolist()}, "outputs": {"y": answers.tolist()}}
    document = {
        "name": "m",
        "format": "safetensors",
        "architecture": MLP,
        "inputs": {"x": TRANSFORM},
        "outputs": {"y": {"kind": "class"}},
        "reference": reference,
        **manifest,
    }
    parsed = ModelManifest.model_validate_json(json.dumps(document))
    return inspect_family_model(folder / "model.safetensors", parsed)


def test_a_model_that_reproduces_its_reference_is_ready_and_shows_examples(tmp_path: Path) -> None:
    expected = forward(weights(), transformed(RAW))
    for noise in (0.0, 1e-5):
        inspect_mlp(tmp_path, RAW, expected * (1 + noise))
    facts = inspect_mlp(tmp_path, RAW, expected)
    rows = torch.stack([torch.zeros(4), torch.ones(4), torch.arange(4) / 4])
    torch.testing.assert_close(torch.tensor(facts.examples["y"]), forward(weights(), transformed(rows)))


DIFFERENT: dict[str, tuple[Callable[[], tuple[Tensor, Tensor]], str]] = {
    "scaled rows": (lambda: (RAW / 255, forward(weights(), transformed(RAW))), "times 255"),
    "rows in other units": (lambda: (RAW * 255, forward(weights(), transformed(RAW))), "times 1/255"),
    "no transform": (lambda: (RAW, forward(weights(), RAW)), "without the transform"),
    "normalised first": (lambda: (RAW, forward(weights(), (RAW - 0.4) / 0.2 / 255)), "before `scale`"),
    "probabilities": (lambda: (RAW, forward(weights(), transformed(RAW)).softmax(1)), "is the softmax"),
    "sigmoid": (lambda: (RAW, forward(weights(), transformed(RAW)).sigmoid()), "is the sigmoid"),
    "classes in another order": (lambda: (RAW, forward(weights(), transformed(RAW)).flip(1)), "[1, 0]"),
    "other weights": (lambda: (RAW, forward(weights(seed=7), transformed(RAW))), "compare the layers"),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_differs_is_named_with_the_largest_difference(what: str, tmp_path: Path) -> None:
    make, expected = DIFFERENT[what]
    message = refused("reference_mismatch", lambda: inspect_mlp(tmp_path, *make()))
    assert expected in message
    assert "output `y`, row " in message
    assert "of 5 rows differ" in message


@pytest.mark.parametrize("unit", [1e-9, 1e-20])
def test_outputs_in_small_units_are_compared_as_others_are(unit: float, tmp_path: Path) -> None:
    kind: dict[str, Any] = {"outputs": {"y": {"kind": "vector"}}}
    expected = forward(weights(), transformed(RAW)) * unit
    inspect_mlp(tmp_path, RAW, expected, unit, **kind)
    refused("reference_mismatch", lambda: inspect_mlp(tmp_path, RAW, -expected, unit, **kind))


def test_one_wrong_number_is_found_where_it_is(tmp_path: Path) -> None:
    expected = forward(weights(), transformed(RAW))
    expected[3, 1] += 0.1 * float(expected.max() - expected.min())
    message = refused("reference_mismatch", lambda: inspect_mlp(tmp_path, RAW, expected))
    assert "row 3, number 1" in message
    assert "1 of 5 rows differ" in message


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda x: x.permute(0, 2, 3, 1), "[height, width, channels]"),
        (lambda x: x.flip(1), "reverse order"),
        (lambda x: x.transpose(2, 3), "last two dimensions"),
    ],
)
def test_images_in_another_order_are_recognised(change: Callable[[Tensor], Tensor], hint: str, tmp_path: Path) -> None:
    architecture = {"family": "convnet", "input_shape": [3, 6, 5], "channels": [4], "outputs": {"y": 2}}
    document: dict[str, Any] = {"name": "m", "format": "safetensors", "architecture": architecture}
    document["outputs"] = {"y": {"kind": "vector"}}
    parsed = ModelManifest.model_validate_json(json.dumps(document))
    assert parsed.architecture is not None
    network = build(parsed.architecture)
    initialise(network, seed=0)
    save_file(network.state_dict(), tmp_path / "w")
    x = torch.rand(4, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = network.eval()(x)["y"]

    def inspect(rows: Tensor) -> ModelFacts:
        reference = {"inputs": {"image": rows.tolist()}, "outputs": {"y": outputs.tolist()}}
        manifest = ModelManifest.model_validate_json(json.dumps({**document, "reference": reference}))
        return inspect_family_model(tmp_path / "w", manifest)

    inspect(x)
    assert hint in refused("reference_mismatch", lambda: inspect(change(x)))


def test_a_graph_has_a_reference_too_and_a_norm_after_the_activation_is_found(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    right = {"inputs": {"x": x.tolist()}, "outputs": {"y": (x @ W).tolist()}}
    inspected(graph(), tmp_path, reference=right)
    after = graph(helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Gemm", ["r", "w", "b"], ["y"]))
    refused("reference_mismatch", lambda: inspected(after, tmp_path, reference=right))
    for inputs, code in (({"x": x[:, :3].tolist()}, "shape_mismatch"), ({"a": [[1]], "b": [[1]]}, "unknown_input")):
        reference = {"inputs": inputs, "outputs": {"y": [[0.0, 0.0]] * len(next(iter(inputs.values())))}}
        refused(code, partial(inspected, graph(GEMM), tmp_path, reference=reference))


FAR = 1.7e9


def test_reference_rows_far_from_zero_are_centred_before_they_are_rounded(tmp_path: Path) -> None:
    """As a job's rows are: by the transform of a network or a graph, or by a graph of doubles itself."""
    near = np.random.default_rng(0).normal(size=(6, 4))
    rows, mean = torch.from_numpy(near + FAR), {"x": {"mean": FAR}}
    inspect_mlp(tmp_path, rows, forward(weights(), torch.from_numpy(near).float()), inputs=mean)
    reference = {"inputs": {"x": rows.tolist()}, "outputs": {"y": (near @ W).tolist()}}
    inspected(graph(), tmp_path, inputs=mean, reference=reference)
    double = graph(
        helper.make_node("Sub", ["x", "far"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
        inputs=[value("x", ["n", 4], TensorProto.DOUBLE)],
        outputs=[value("y", ["n", 2], TensorProto.DOUBLE)],
        weights={"far": np.float64(FAR), "w": W.astype(np.float64)},
    )
    inspected(double, tmp_path, reference=reference)


@pytest.mark.parametrize(("kind", "largest"), [(TensorProto.INT32, 2**31 - 1), (TensorProto.INT64, 2**53 - 1)])
def test_whole_reference_rows_reach_the_graph_as_they_are(kind: int, largest: int, tmp_path: Path) -> None:
    last_digit = graph(
        helper.make_node("Mod", ["x", "ten"], ["digit"]),
        helper.make_node("Cast", ["digit"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
        inputs=[value("x", ["n", 4], kind)],
        weights={"ten": np.array(10, np.int32 if kind == TensorProto.INT32 else np.int64), "w": W},
    )
    rows = np.array([[largest, 12_345_677, 3, 0], [largest - 1, 1 << 25, 5, 7]])
    reference = {"inputs": {"x": rows.tolist()}, "outputs": {"y": ((rows % 10) @ W).tolist()}}
    inspected(last_digit, tmp_path, reference=reference)


@pytest.mark.parametrize(
    "output",
    [{"kind": "value", "mean": 1000.0, "std": 50.0}, {"kind": "vector", "mean": [1000.0, 3.0], "std": [50.0, 2.0]}],
    ids=["value", "vector"],
)
def test_a_reference_in_the_units_of_the_target_is_recognised(output: dict[str, Any], tmp_path: Path) -> None:
    size = 1 if output["kind"] == "value" else 2
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    y = x @ W[:, :size]
    made = graph(
        helper.make_node("MatMul", ["x", "w"], ["y"]), outputs=[value("y", ["n", size])], weights={"w": W[:, :size]}
    )

    def inspect(expected: Any) -> ModelFacts:
        reference = {"inputs": {"x": x.tolist()}, "outputs": {"y": expected.tolist()}}
        return inspected(made, tmp_path, outputs={"y": output}, reference=reference)

    inspect(y)
    units = y * np.array(output["std"]) + np.array(output["mean"])
    assert "output * std + mean" in refused("reference_mismatch", lambda: inspect(units))


def test_a_reference_of_another_precision_is_recognised(tmp_path: Path) -> None:
    given = {name: values.bfloat16().float() for name, values in weights().items()}
    message = refused("reference_mismatch", lambda: inspect_mlp(tmp_path, RAW, forward(given, transformed(RAW))))
    assert "bfloat16" in message
    assert "`model.float().eval()`" in message
