"""Sessions in this process, and what they answer."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.graph_names import answer_names
from app.contracts.resources.manifests import DatasetManifest, ModelManifest
from app.contracts.wire.orders import ModelInput
from app.contracts.wire.predictions import Reply, SessionOrder, TaughtOutput
from tests.engine.harness import TEACHER, Arrays, EngineHarness
from workers.engine.common.files import sha256_of
from workers.engine.serving.session import ServingSession, open_session

Json = dict[str, Any]


def session_of(
    folder: Path,
    model: ModelInput,
    *,
    graph: Path | None = None,
    rows_of: ModelFacts | None = None,
    taught: Mapping[str, TaughtOutput] | None = None,
    dataset: DatasetManifest | None = None,
    tokenizers: Mapping[str, str] | None = None,
) -> ServingSession:
    """An open session of a model."""
    order = SessionOrder(
        model=model,
        graph=None if graph is None else str(graph),
        rows_of=rows_of,
        taught=dict(taught or {}),
        dataset=dataset,
        tokenizers=dict(tokenizers or {}),
        threads=1,
        memory_bytes=1 << 33,
    )
    opened = open_session(SessionOrder.model_validate_json(order.model_dump_json(by_alias=True)), folder)
    assert isinstance(opened, ServingSession), opened
    return opened


def student_session(harness: EngineHarness, facts: ModelFacts, manifest: ModelManifest) -> ServingSession:
    """A session of the student of the job that the harness ran, with its ONNX file where it has one."""
    path, graph = harness.outputs() / "student.safetensors", harness.outputs() / "student.onnx"
    model = ModelInput(id=TEACHER, manifest=manifest, facts=facts, path=str(path), sha256=sha256_of(path))
    assert harness.data is not None
    exported = graph if graph.exists() else None
    return session_of(harness.folder, model, graph=exported, dataset=harness.data.manifest)


def answer(session: ServingSession, kind: str, body: bytes | str | Json) -> Json:
    """The prediction; a request that is refused fails the test."""
    reply, found = _asked(session, kind, body)
    assert reply.status == 200, (reply.detail, reply.errors)
    document: Json = json.loads(found)
    return document


def refused(session: ServingSession, kind: str, body: bytes | str | Json) -> tuple[str, str]:
    """(pointer, code) of the first error."""
    reply, found = _asked(session, kind, body)
    assert (reply.status, found) == (422, b"")
    assert reply.errors[0].code == reply.code
    return reply.errors[0].pointer, reply.errors[0].code


def _asked(session: ServingSession, kind: str, body: bytes | str | Json) -> tuple[Reply, bytes]:
    text = json.dumps(body) if isinstance(body, dict) else body
    return session.answer(kind, text.encode() if isinstance(text, str) else text)


def npz(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as an npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def predictions(harness: EngineHarness) -> Arrays:
    """The predictions file of the test split, by `<task>/<party>`, and `row`."""
    with np.load(harness.outputs() / "predictions-test.npz") as file:
        return {name.removeprefix("test/"): file[name] for name in file.files}


def check_same(found: Json, expected: Arrays, facts: ModelFacts, party: str = "student") -> None:
    """Every answer is the one of the predictions file: classes equal, numbers within 1e-4, or within two steps of
    float32, which are larger for large numbers.
    """
    assert found["rows"] == len(expected["row"])
    assert set(found["outputs"]) == set(facts.outputs)
    for task, each in found["outputs"].items():
        spec, numbers = facts.outputs[task].spec, expected[f"{task}/{party}"]
        assert [name.removeprefix(f"{task}.") in each for name in answer_names(task, spec)]
        if spec.kind == "value":
            np.testing.assert_allclose(each["value"], numbers.reshape(-1), rtol=1e-5, atol=1e-4)
        elif spec.kind == "vector":
            np.testing.assert_allclose(each["vector"], numbers, rtol=1e-5, atol=1e-4)
        else:
            np.testing.assert_allclose(each["logits"], numbers, rtol=2.0**-22, atol=1e-4)
        if spec.kind == "class":
            names = spec.classes or range(numbers.shape[1])
            assert each["class"] == [names[place] for place in numbers.argmax(1)]
            np.testing.assert_allclose(np.sum(each["probabilities"], axis=1), 1.0, atol=1e-5)
        elif spec.kind == "multilabel":
            assert each["labels"] == (numbers >= 0).astype(int).tolist()
            np.testing.assert_allclose(each["probabilities"], 1 / (1 + np.exp(-numbers)), atol=1e-5)
