"""Uploads answer as their manifest says, and teachers answer the rows of their students as they have taught."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from app.contracts.resources.manifests import InputTransform
from app.contracts.specs.architectures import Mlp
from app.contracts.wire.orders import ModelInput
from app.contracts.wire.predictions import Reply, SessionOrder, TaughtOutput
from tests.engine.export.raw_rows import test_tables as tables
from tests.engine.export.raw_rows.bare_runs import ROWS, TRAINING
from tests.engine.harness import TEACHER, EngineHarness
from tests.engine.jobs.inspection.onnx_graphs import Graph, W, graph, inspected, onnx_manifest, value
from tests.engine.serving.serving import Json, answer, check_same, predictions, refused, session_of
from tests.engine.serving.test_rows_of_students import lines_of
from workers.engine.common.onnx_session import onnx_session
from workers.engine.export.graph_card import graph_metadata
from workers.engine.export.onnx import export_onnx
from workers.engine.jobs.exports.ready_model import raw_student
from workers.engine.serving.session import ServingSession, open_session

CLASSES: Json = {"kind": "class", "classes": 2}


def uploaded(content: Graph, folder: Path, **manifest: object) -> ServingSession:
    facts = inspected(content, folder, **manifest)
    path = str(folder / "model.onnx")
    return session_of(
        folder, ModelInput(id=TEACHER, manifest=onnx_manifest(**manifest), facts=facts, path=path, sha256="0" * 64)
    )


def test_a_graph_answers_rows_before_the_transform_of_its_manifest(tmp_path: Path) -> None:
    """Two numbers are the scores of two named classes."""
    named = {"kind": "class", "classes": ["no", "yes"]}
    session = uploaded(graph(), tmp_path, inputs={"x": {"scale": 0.5, "mean": 1.0}}, outputs={"y": named})
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32) * 10
    found = answer(session, "json", {"inputs": {"x": rows.tolist()}})["outputs"]["y"]
    expected = (rows * 0.5 - 1.0) @ W
    np.testing.assert_allclose(found["logits"], expected, atol=1e-4)
    assert found["class"] == [["no", "yes"][place] for place in expected.argmax(1)]
    alone = answer(session, "json", {"rows": [{"x": row} for row in rows.tolist()]})["outputs"]["y"]
    assert alone == found
    assert refused(session, "json", {"inputs": {"x": [[1, 2, 3]]}}) == ("/inputs/x", "shape_mismatch")


def test_tokens_of_any_length_and_constants_of_a_graph_with_a_fixed_batch(tmp_path: Path) -> None:
    """The mean of the tokens of a row, times a constant that the manifest fills in; two rows at a time."""
    nodes = [
        helper.make_node("Cast", ["tokens"], ["t"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["t"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["m", "rate"], ["y"]),
    ]
    inputs = [value("tokens", [2, "length"], TensorProto.INT64), value("rate", [1])]
    made = graph(*nodes, inputs=inputs, outputs=[value("y", [2, 1])], weights={"unused": W})
    settings = {"inputs": {"tokens": {}, "rate": {"constant": 3.0}}, "outputs": {"y": {"kind": "value", "std": 2.0}}}
    session = uploaded(made, tmp_path, **settings)
    for rows in ([[1, 2, 3], [4, 5, 6], [7, 8, 10]], [[1, 3]]):
        found = answer(session, "json", {"inputs": {"tokens": rows}})["outputs"]["y"]["value"]
        np.testing.assert_allclose(found, 6.0 * np.mean(rows, axis=1), rtol=1e-6)
    assert refused(session, "json", {"inputs": {"tokens": [[0.5]]}}) == ("/inputs/tokens/0/0", "not_whole_numbers")
    assert refused(session, "json", {"inputs": {"tokens": [[1]], "rate": [1]}})[0] == "/inputs/rate"


def test_a_graph_with_its_channels_last_takes_rows_in_its_own_shape(tmp_path: Path) -> None:
    """Statistics of the manifest are those of the channels."""
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=0)]
    made = graph(*nodes, inputs=[value("x", ["n", 2, 3, 4])], outputs=[value("y", ["n", 4])], weights={"unused": W})
    inputs: Json = {"x": {"layout": "channels_last", "mean": [0.0, 1.0, 2.0, 3.0]}}
    session = uploaded(made, tmp_path, inputs=inputs, outputs={"y": {"kind": "vector"}})
    rows: NDArray[np.float64] = np.random.default_rng(1).normal(size=(3, 2, 3, 4))
    found = answer(session, "json", {"inputs": {"x": rows.tolist()}})["outputs"]["y"]["vector"]
    np.testing.assert_allclose(found, rows.mean(axis=(1, 2)) - [0, 1, 2, 3], atol=1e-5)


def test_an_answer_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    session = uploaded(graph(helper.make_node("Exp", ["x"], ["y"]), outputs=[value("y", ["n", 4])]), tmp_path,
                       outputs={"y": {"kind": "vector"}})  # fmt: skip
    assert refused_code(session, {"inputs": {"x": [[0, 0, 0, 1000]]}}) == "answer_not_finite"


def refused_code(session: ServingSession, body: Json) -> str:
    reply, _ = session.answer("json", str(body).replace("'", '"').encode())
    assert reply.status == 422
    return reply.code


def test_a_model_that_cannot_be_exported_says_why(harness: EngineHarness) -> None:
    architecture = {"family": "mlp", "input_shape": [4], "hidden": [], "outputs": {"y": 2}}
    tensors = {"layers.0.weight": torch.ones(2, 4), "layers.0.bias": torch.zeros(2)}
    model = harness.uploaded(tensors, {"architecture": architecture, "outputs": {"y": {"kind": "class"}}})
    assert model.facts is not None
    refusing = model.model_copy(update={"facts": model.facts.model_copy(update={"export_refused": "it differs"})})
    order = SessionOrder(model=refusing, graph=None, dataset=None, threads=1, memory_bytes=1 << 33)
    reply = open_session(order, harness.folder)
    assert isinstance(reply, Reply)
    assert (reply.status, reply.code, reply.detail) == (409, "export_mismatch", "it differs")


def test_a_graph_that_cannot_be_loaded_says_so_when_the_session_is_opened(tmp_path: Path) -> None:
    """Before the first request, whose time is short."""
    facts = inspected(graph(), tmp_path)
    path = tmp_path / "model.onnx"
    path.write_bytes(path.read_bytes()[:40])
    model = ModelInput(id=TEACHER, manifest=onnx_manifest(), facts=facts, path=str(path), sha256="0" * 64)
    reply = open_session(SessionOrder(model=model, graph=None, dataset=None, threads=1, memory_bytes=1 << 33), tmp_path)
    assert isinstance(reply, Reply)
    assert (reply.status, reply.code) == (409, "model_not_loaded")
    assert str(tmp_path) not in reply.detail


@pytest.mark.parametrize("is_current", [True, False], ids=["current", "of an earlier version"])
def test_the_exported_file_of_a_model_is_loaded_once(
    is_current: bool, harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of an earlier version, which takes other rows, is exported anew."""
    architecture = {"family": "mlp", "input_shape": [4], "hidden": [], "outputs": {"y": 2}}
    tensors = {"layers.0.weight": torch.ones(2, 4), "layers.0.bias": torch.zeros(2)}
    model = harness.uploaded(tensors, {"architecture": architecture, "outputs": {"y": {"kind": "class"}}})
    file = harness.folder / "exported.onnx"
    student = raw_student(model)
    export_onnx(student, file, graph_metadata(student) | ({} if is_current else {"version": 1}))
    opened: list[object] = []

    def noted(source: Path | bytes, threads: int) -> object:
        opened.append(source)
        return onnx_session(source, threads)

    monkeypatch.setattr("workers.engine.serving.models.onnx_session", noted)
    session = session_of(harness.folder, model, graph=file)
    assert opened == ([file] if is_current else [file, harness.folder / "model.onnx"])
    assert answer(session, "json", {"inputs": {"x": [[1, 2, 3, 4]]}})["outputs"]["y"]["logits"] == [[10.0, 10.0]]


@pytest.mark.parametrize("selected", [False, True], ids=["all classes", "selected classes"])
def test_a_teacher_answers_the_rows_of_its_student_as_it_has_taught(selected: bool, harness: EngineHarness) -> None:
    """Categories and gaps are those of the student's dataset, and of more classes only those of the task count."""
    tables.table("csv", harness, numbers=tables.NUMBERS, words=tables.CATEGORIES)
    assert harness.data is not None
    assert harness.data.facts is not None
    size = sum(int(np.prod(each.shape)) for each in harness.data.facts.inputs.values())
    sizes = {name: list(each.shape) for name, each in harness.data.facts.inputs.items()}
    draw = torch.Generator().manual_seed(2)
    tensors = {"layers.0.weight": torch.randn(4, size, generator=draw) * 1e-4, "layers.0.bias": torch.zeros(4)}
    if not selected:
        tensors = {name: tensor[:2] for name, tensor in tensors.items()}
    outputs = {"wide": 4 if selected else 2}
    harness.uploaded(
        tensors,
        {
            "architecture": {"family": "mlp", "input_shape": [size], "hidden": [], "outputs": outputs},
            "inputs": {name: {"shape": shape} for name, shape in sizes.items()},
            "outputs": {"wide": {"kind": "class"}},
            "rename": {"layers.0": "layers.0"},
        },
    )
    teacher: Json = {"model": TEACHER, "output": "wide", **({"classes": [3, 1]} if selected else {})}
    spec: Json = {"kind": "distill", "target": "y", "teachers": [teacher], "student": tables.MODEL}
    spec["distillation"] = {"allow_chance_teacher": True}
    outcome = harness.run({"training": TRAINING, **spec})
    taught = {"0": TaughtOutput(task="y", output="wide", classes=(3, 1) if selected else None)}
    session = session_of(
        harness.folder,
        harness.models[TEACHER],
        rows_of=outcome.student,
        taught=taught,
        dataset=harness.data.manifest,
    )
    expected = predictions(harness)
    found = answer(session, "csv", "\n".join(lines_of(harness, expected["row"], "csv")))
    found["outputs"] = {"y": found["outputs"]["0"]}
    check_same(found, expected, outcome.student, party="teacher")


@pytest.mark.parametrize("is_known", [True, False], ids=["dataset is there", "dataset was deleted"])
@pytest.mark.parametrize("named", [True, False], ids=["an input by name", "all inputs"])
def test_a_teacher_of_inputs_that_the_student_does_not_read_says_so(
    is_known: bool, named: bool, harness: EngineHarness
) -> None:
    """Also where rows of the student would fit it."""
    inputs: Json = {"a": {"kind": "array"}, "b": {"kind": "array"}}
    labels = np.arange(ROWS) % 2
    rows = np.zeros((ROWS, 2), np.float32)
    data = harness.dataset({"a": rows, "b": rows, "y": labels}, inputs=inputs, targets={"y": CLASSES})
    size = 2 if named else 4
    teacher = harness.uploaded(
        {"layers.0.weight": torch.ones(2, size), "layers.0.bias": torch.zeros(2)},
        {
            "architecture": {"family": "mlp", "input_shape": [size], "hidden": [], "outputs": {"y": 2}},
            "inputs": {"b": {}} if named else {},
            "outputs": {"y": {"kind": "class"}},
        },
    )
    student = Mlp(family="mlp", input_shape=(2,), inputs=("a",), outputs={"y": 2})
    assert teacher.facts is not None
    facts = teacher.facts.model_copy(update={"architecture": student, "inputs": {"a": InputTransform()}})
    order = SessionOrder(
        model=teacher,
        graph=None,
        rows_of=facts.model_copy(update={"input_shape": (2,), "input_shapes": {"a": (2,)}}),
        taught={"0": TaughtOutput(task="y", output="y")},
        dataset=data.manifest if is_known else None,
        threads=1,
        memory_bytes=1 << 33,
    )
    reply = open_session(order, harness.folder)
    assert isinstance(reply, Reply)
    expected = "input_mismatch" if named or is_known else "shape_mismatch"
    assert (reply.status, reply.code) == (409, expected)
