"""Rows in, answers out, over HTTP: a student, beside its teachers, an upload, and many clients at once."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from onnx import helper

from tests.e2e.conftest import Client
from tests.engine.jobs.inspection.onnx_graphs import graph, value

CLIENTS = 64
TWO = np.array([2.0], np.float32)


def predict(client: Client, model: str, query: str = "", **request: Any) -> httpx.Response:
    return client.http.post(f"/v1/models/{model}/predict{query}", **request)


def test_a_student_answers_as_its_predictions_say_beside_its_teachers(client: Client, tmp_path: Path) -> None:
    """It has no ONNX file yet: one is made in the sandbox."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(120, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=np.array(["down", "up"])[(x[:, 0] > 0).astype(int)])
    target = {"y": {"kind": "class", "classes": ["down", "up"]}}
    manifest = {"name": "d", "format": "npz", "inputs": {"x": {"kind": "array", "standardize": True}}}
    dataset = client.upload("datasets", {**manifest, "targets": target}, tmp_path / "d.npz")["id"]
    short = {"dataset": dataset, "training": {"epochs": 2}}
    teacher = client.finish({"kind": "train", "model": {"family": "mlp", "hidden": [8]}, **short})["student"]
    job = client.finish(
        {
            "kind": "distill",
            "teachers": [{"model": teacher}],
            "student": {"family": "mlp", "hidden": [4]},
            "distillation": {"allow_chance_teacher": True},
            "repeats": 1,
            "control": False,
            **short,
        }
    )
    student = job["student"]
    with np.load(client.download(f"/v1/jobs/{job['id']}/predictions?split=test", tmp_path / "p.npz")) as file:
        rows, scores, taught = (file[f"test/{name}"] for name in ("row", "y/student", "y/teacher"))
    body = {"inputs": {"x": x[rows].tolist()}}
    found = predict(client, student, "?compare=teacher", json=body).json()
    np.testing.assert_allclose(found["outputs"]["y"]["logits"], scores, atol=1e-4)
    classes = [["down", "up"][place] for place in scores.argmax(1)]
    assert (found["model"], found["rows"], found["outputs"]["y"]["class"]) == (student, len(rows), classes)
    (beside,) = found["teachers"]
    assert (beside["task"], beside["model"], beside["output"], beside["not_answered"]) == ("y", teacher, "y", None)
    np.testing.assert_allclose(beside["answer"]["logits"], taught, atol=1e-4)
    assert beside["agreement"]["same"] == np.mean(scores.argmax(1) == taught.argmax(1))
    wrong = predict(client, student, json={"inputs": {"x": [[1.0, 2.0, 3.0, "4"]]}})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/inputs/x/0/3")

    def ask(row: int) -> bool:
        answer = predict(client, student, json={"inputs": {"x": x[rows[row : row + 1]].tolist()}})
        return bool(answer.json()["outputs"]["y"]["class"] == classes[row : row + 1])

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert all(pool.map(ask, [i % len(rows) for i in range(CLIENTS)]))
    assert client.http.delete(f"/v1/models/{teacher}").status_code == 204
    (beside,) = predict(client, student, "?compare=teacher", json=body).json()["teachers"]
    assert (beside["answer"], beside["not_answered"]["code"]) == (None, "teacher_deleted")


def test_an_upload_answers_rows_of_every_format(client: Client, tmp_path: Path) -> None:
    """The readers run in the sandbox."""
    nodes = [helper.make_node("Mul", ["x", "two"], ["y"])]
    made = graph(*nodes, inputs=[value("x", ["n", 1])], outputs=[value("y", ["n", 1])], weights={"two": TWO})
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    manifest = {"name": "double", "format": "onnx", "outputs": {"y": {"kind": "value"}}}
    upload = client.upload("models", manifest, tmp_path / "m.onnx")
    assert upload["state"] == "ready", upload["rejection"]
    file = io.BytesIO()
    np.savez(file, x=np.array([[1.5], [-2.0]]))
    bodies: dict[str, bytes] = {
        "application/json": b'{"rows": [{"x": 1.5}, {"x": -2}]}',
        "application/x-npz": file.getvalue(),
        "text/csv": b"x,other\n1.5,a\n-2,b\n",
        "application/x-ndjson": b'{"x": 1.5}\n{"x": -2}\n',
    }
    for kind, body in bodies.items():
        answer = predict(client, upload["id"], content=body, headers={"Content-Type": kind})
        assert answer.json()["outputs"] == {"y": {"value": [3.0, -4.0]}}, (kind, answer.text)
