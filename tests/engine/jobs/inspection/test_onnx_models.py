"""ONNX graphs as uploads: what is read out of them, and how they teach."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from app.contracts.resources.manifests import ModelManifest
from app.contracts.wire.orders import ModelInput
from tests.engine.export.earlier_exports import export_plain
from tests.engine.jobs.inspection.onnx_graphs import GEMM, W, graph, inspected, onnx_manifest, value
from tests.engine.jobs.inspection.uploads import model_manifest, refused
from workers.engine.jobs.inspection.onnx_models import inspect_onnx_model
from workers.engine.models import Network, build, initialise
from workers.engine.teachers.teacher import open_teacher

CPU = torch.device("cpu")


def exported(tmp_path: Path, outputs: dict[str, int], input_name: str = "pixels") -> tuple[Network, Path]:
    architecture = {"family": "convnet", "input_shape": [1, 6, 6], "channels": [3], "outputs": outputs}
    kinds = {name: {"kind": "class"} for name in outputs}
    parsed = model_manifest(architecture=architecture, outputs=kinds).architecture
    assert parsed is not None
    network = build(parsed)
    initialise(network, seed=3)
    export_plain(network, tmp_path / "exported.onnx", {}, input_name=input_name)
    return network.eval(), tmp_path / "exported.onnx"


def answers(path: Path, manifest: ModelManifest, rows: Tensor) -> dict[str, Tensor]:
    facts = inspect_onnx_model(path, manifest)
    model = ModelInput(id="mdl", manifest=manifest, facts=facts, path=str(path), sha256="0" * 64)
    return open_teacher(model, CPU, threads=1).predict(rows)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    """A network of two outputs, and its graph."""
    return exported(tmp_path_factory.mktemp("pair"), {"digit": 10, "side": 2})


def test_an_exported_network_is_read_with_its_input_outputs_and_parameters(pair: tuple[Network, Path]) -> None:
    network, path = pair
    outputs = {"digit": {"kind": "class"}, "side": {"kind": "class", "classes": ["left", "right"]}}
    facts = inspect_onnx_model(path, onnx_manifest(outputs=outputs))
    assert facts.input_shape == (1, 6, 6)
    assert {name: output.size for name, output in facts.outputs.items()} == {"digit": 10, "side": 2}
    assert (facts.architecture, facts.max_batch) == (None, None)
    assert "Conv" in {layer.kind for layer in facts.layers}
    assert facts.parameters is not None
    assert facts.parameters >= sum(p.numel() for name, p in network.named_parameters() if "norm" not in name)


@pytest.mark.parametrize("rows", [1, 2, 70])
def test_a_graph_as_teacher_answers_as_torch_does(rows: int, pair: tuple[Network, Path]) -> None:
    network, path = pair
    manifest = onnx_manifest(outputs={"side": {"kind": "class"}, "digit": {"kind": "class"}})
    raw = torch.randn(rows, 1, 6, 6, generator=torch.Generator().manual_seed(rows))
    found = answers(path, manifest, raw)
    with torch.no_grad():
        expected = network(raw)
    assert set(found) == {"digit", "side"}
    for name, values in found.items():
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, expected[name], rtol=0, atol=1e-5)
    torch.testing.assert_close(answers(path, manifest, raw.flatten(1)), found, rtol=0, atol=0)


def test_what_the_manifest_says_of_inputs_happens_before_the_graph(tmp_path: Path) -> None:
    manifest = onnx_manifest(inputs={"x": {"scale": 0.5, "mean": [1.0, 2.0, 3.0, 4.0], "std": 2.0}})
    inspected(graph(), tmp_path)
    raw = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    expected = ((raw * 0.5 - torch.tensor([1.0, 2.0, 3.0, 4.0])) / 2.0) @ torch.from_numpy(W)
    torch.testing.assert_close(answers(tmp_path / "model.onnx", manifest, raw)["y"], expected, rtol=0, atol=1e-6)


def test_outputs_are_matched_by_name_and_a_single_one_by_being_single(tmp_path: Path) -> None:
    assert set(inspected(graph(), tmp_path, outputs={"digit": {"kind": "class"}}).outputs) == {"digit"}
    single = answers(tmp_path / "model.onnx", onnx_manifest(outputs={"digit": {"kind": "class"}}), torch.ones(1, 4))
    assert set(single) == {"digit"}
    swap = helper.make_node("Gather", ["y", "order"], ["z"], axis=1)
    both = graph(
        GEMM,
        swap,
        outputs=[value("z", ["n", 3]), value("y", ["n", 2])],
        weights={"w": W, "b": np.zeros(2, np.float32), "order": np.array([1, 0, 1])},
    )
    outputs = {"y": {"kind": "class"}, "z": {"kind": "class"}}
    facts = inspected(both, tmp_path, outputs=outputs)
    assert {name: output.size for name, output in facts.outputs.items()} == {"y": 2, "z": 3}
    found = answers(tmp_path / "model.onnx", onnx_manifest(outputs=outputs), torch.ones(1, 4))
    assert torch.equal(found["z"], found["y"][:, [1, 0, 1]])
    message = refused("missing_output", lambda: inspected(both, tmp_path, outputs={"digit": {"kind": "class"}}))
    assert "'digit'" in message
    assert "['y', 'z']" in message


@pytest.mark.parametrize("batch", [1, 3, 4, 9])
def test_a_graph_with_a_fixed_batch_is_fed_in_batches_of_that_size(batch: int, tmp_path: Path) -> None:
    fixed = graph(inputs=[value("x", [batch, 4])], outputs=[value("y", [batch, 2])])
    assert inspected(fixed, tmp_path).max_batch == batch
    raw = torch.arange(28.0).reshape(7, 4)
    found = answers(tmp_path / "model.onnx", onnx_manifest(), raw)["y"]
    torch.testing.assert_close(found, raw @ torch.from_numpy(W), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "dtype"), [(TensorProto.FLOAT16, np.float16), (TensorProto.DOUBLE, np.float64)])
def test_graphs_of_other_precisions_are_fed_theirs_and_answer_in_float32(
    kind: int, dtype: type[np.generic], tmp_path: Path
) -> None:
    other = graph(
        inputs=[value("x", ["n", 4], kind)],
        outputs=[value("y", ["n", 2], kind)],
        weights={"w": W.astype(dtype), "b": np.zeros(2, dtype)},
    )
    inspected(other, tmp_path)
    raw = torch.tensor([[1.0, 0.0, 2.0, 0.5]])
    torch.testing.assert_close(answers(tmp_path / "model.onnx", onnx_manifest(), raw)["y"], raw @ torch.from_numpy(W))


def test_outputs_of_any_name_are_exported_and_read_again(tmp_path: Path) -> None:
    """Traps: values inside the graph are called `linear` or `relu`, and heads `type` or `size.cm` are no attributes."""
    names = ["linear", "relu", "conv2d", "size.cm", "type", "training", "a", "a.weight", "pixels"]
    network, path = exported(tmp_path, {name: size for size, name in enumerate(names, start=2)})
    raw = torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    found = answers(path, onnx_manifest(outputs={name: {"kind": "class"} for name in names}), raw)
    with torch.no_grad():
        torch.testing.assert_close(found, network(raw), rtol=0, atol=1e-5)


def test_an_input_called_like_a_value_inside_is_fed(tmp_path: Path) -> None:
    network, path = exported(tmp_path, {"digit": 3}, input_name="relu")
    raw = torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(raw)
    torch.testing.assert_close(
        answers(path, onnx_manifest(outputs={"digit": {"kind": "class"}}), raw), expected, rtol=0, atol=1e-5
    )
