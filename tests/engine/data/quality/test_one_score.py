"""One score a row for two classes: the same teacher as one of two scores, by every path."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from pydantic import TypeAdapter

from app.contracts.resources.manifests import TargetSpec
from app.contracts.wire.orders import ModelInput
from tests.engine.jobs.inspection.onnx_graphs import W, graph, inspected, onnx_manifest, value
from tests.engine.jobs.inspection.uploads import MLP, model_manifest, refused
from workers.engine.data.labels.columns import number_column
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.teachers.teacher import open_teacher

ROWS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)) * 6
Z = ROWS.numpy() @ (W[:, 1:] - 0.5)
P = 1.0 / (1.0 + np.exp(-Z))
NODES = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Sigmoid", ["z"], ["p"])]


def teacher(output: str, folder: Path) -> dict[str, torch.Tensor]:
    """The outputs of a graph whose output is one number a row."""
    name = "z" if output == "logits" else "p"
    made = graph(*NODES, outputs=[value(name, ["n", 1])], weights={"w": W[:, 1:] - np.float32(0.5)})
    outputs = {"y": {"kind": "class", "output": output, "classes": ["no", "yes"]}}
    facts = inspected(made, folder, outputs=outputs)
    assert facts.outputs["y"].size == 2
    path = folder / "model.onnx"
    model = ModelInput(id="mdl", manifest=onnx_manifest(outputs=outputs), facts=facts, path=str(path), sha256="0" * 64)
    return open_teacher(model, torch.device("cpu"), 1).predict(ROWS)


def column(output: str, numbers: Any) -> torch.Tensor:
    document = {"kind": "teacher", "size": 1, "predicts": {"kind": "class", "output": output}}
    target = TypeAdapter(TargetSpec).validate_json(json.dumps(document))
    found = number_column("y", target, [numbers])
    assert found.size == 2
    return found.values


@pytest.mark.parametrize("path", ["graph", "column"])
@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_one_score_is_the_distribution_of_two(output: str, path: str, tmp_path: Path) -> None:
    numbers = Z if output == "logits" else P
    found = teacher(output, tmp_path)["y"] if path == "graph" else column(output, numbers)
    p = found.double().softmax(1) if output == "logits" else found.double()
    expected = np.concatenate([1.0 - P, P], axis=1)
    np.testing.assert_allclose(p.numpy(), expected, atol=1e-6)


def test_a_missing_score_is_missing() -> None:
    numbers = np.array([[0.5], [np.nan]], np.float32)
    document = {"kind": "teacher", "predicts": {"kind": "class"}}
    found = number_column("y", TypeAdapter(TargetSpec).validate_json(json.dumps(document)), [numbers])
    assert found.labelled.tolist() == [True, False]


@pytest.mark.parametrize(("declared", "numbers"), [("probabilities", Z), ("logits", np.linspace(0, 1, 40)[:, None])])
def test_one_score_that_is_not_what_is_declared_is_refused(declared: str, numbers: Any) -> None:
    refused("wrong_output", lambda: column(declared, numbers))


def test_a_network_of_one_score_and_a_single_energy_are_refused_with_the_way_out(tmp_path: Path) -> None:
    manifest = model_manifest(architecture={**MLP, "outputs": {"y": 1}})
    message = refused("wrong_output", lambda: inspect_family_model(tmp_path / "none", manifest))
    assert "a row of zeros" in message
    energy = graph(NODES[0], outputs=[value("z", ["n", 1])], weights={"w": W[:, 1:].copy()})
    outputs = {"y": {"kind": "class", "output": "energies"}}
    assert "log-odds" in refused("wrong_output", lambda: inspected(energy, tmp_path, outputs=outputs))


def test_a_graph_of_one_number_in_and_one_out_has_rows_of_any_shape_of_one(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    facts = inspected(graph(node, inputs=[value("x", ["n"])], outputs=[value("y", ["n"])]), tmp_path)
    assert (facts.input_shape, facts.outputs["y"].size) == ((), 2)
    path = str(tmp_path / "model.onnx")
    model = ModelInput(id="mdl", manifest=onnx_manifest(), facts=facts, path=path, sha256="0" * 64)
    found = open_teacher(model, torch.device("cpu"), 1).predict(ROWS[:, :1])["y"]
    torch.testing.assert_close(found, torch.cat([torch.zeros(40, 1), ROWS[:, :1]], dim=1))


def test_a_graph_of_open_sizes_may_have_one_score(tmp_path: Path) -> None:
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=0)
    made = graph(node, inputs=[value("x", ["n", "h", "w"])], outputs=[value("y", ["n"])])
    assert inspected(made, tmp_path).outputs["y"].size == 2
