"""Sentences, a student of transformers with its tokenizer: by HTTP, and back into transformers."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.e2e.conftest import Client
from tests.engine.jobs.texts.sentences import BERT, MANIFEST, TRAINING, sentences, written
from workers.engine.models.families.library.packages import package

TEXTS = [row["text"] for row in sentences(12, seed=9)]


@pytest.fixture(scope="module")
def trained(client: Client, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """(dataset, job of a student of texts)."""
    path = written(tmp_path_factory.mktemp("sentences"), sentences())
    dataset = client.upload("datasets", MANIFEST, path)
    assert dataset["state"] == "ready", dataset["rejection"]
    spec = {"kind": "train", "dataset": dataset["id"], "model": BERT, "training": TRAINING, "exports": ["onnx"]}
    return dataset, client.finish(spec)


@pytest.fixture(scope="module")
def bundle(client: Client, trained: tuple[Any, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    found = client.http.get(f"/v1/models/{trained[1]['student']}/bundle?wait=60")
    assert found.status_code == 200, found.text
    with zipfile.ZipFile(io.BytesIO(found.content)) as archive:
        archive.extractall(folder)
    return folder


def test_a_dataset_of_texts_says_how_they_become_tokens(trained: tuple[dict[str, Any], Any]) -> None:
    dataset, _ = trained
    (tokenizer,) = [each for each in dataset["files"] if each["role"] == "tokenizer"]
    tokens = dataset["tokens"]["text"]
    assert tokens["tokenizer"] == tokenizer["sha256"]
    assert 261 < tokens["vocabulary"] <= 400, "256 bytes, 5 special tokens, and pairs"
    assert tokens["length"] == 16, "as long as the longest text, in a multiple of 8"


def test_texts_are_answered_in_every_form_of_rows(client: Client, trained: tuple[Any, dict[str, Any]]) -> None:
    url = f"/v1/models/{trained[1]['student']}/predict"
    rows = client.http.post(url, json={"rows": [{"text": text} for text in TEXTS]})
    assert rows.status_code == 200, rows.text
    known = rows.json()["outputs"]["label"]["probabilities"]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerows([["text"], *([text] for text in TEXTS)])
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    arrays = io.BytesIO()
    np.savez(arrays, text=np.array(TEXTS))
    for kind, body in (
        ("application/json", json.dumps({"inputs": {"text": TEXTS}}).encode()),
        ("text/csv", table.getvalue().encode()),
        ("application/x-ndjson", lines.encode()),
        ("application/x-npz", arrays.getvalue()),
    ):
        found = client.http.post(url, content=body, headers={"Content-Type": kind})
        assert found.status_code == 200, (kind, found.text)
        np.testing.assert_allclose(found.json()["outputs"]["label"]["probabilities"], known, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"rows": [{"text": 3}]}, "wrong_type"),
        ({"rows": [{"words": "a"}]}, "unknown_column"),
        ({"inputs": {"text": [["a", "b"]]}}, "wrong_type"),
        ({"inputs": {"text": [[1, 2], [1]]}}, "wrong_type"),
        ({"inputs": {"text": [[1, 99_999]]}}, "out_of_range"),
        ({"rows": []}, "no_rows"),
    ],
)
def test_what_is_no_text_is_refused_by_its_place(
    client: Client, trained: tuple[Any, dict[str, Any]], body: dict[str, Any], code: str
) -> None:
    found = client.http.post(f"/v1/models/{trained[1]['student']}/predict", json=body)
    assert found.status_code == 422, found.text
    assert found.json()["errors"][0]["code"] == code, found.text
    assert found.json()["errors"][0]["pointer"]


def test_half_a_character_is_refused(client: Client, trained: tuple[Any, dict[str, Any]]) -> None:
    body = b'{"inputs": {"text": ["x\\ud800y"]}}'
    url = f"/v1/models/{trained[1]['student']}/predict"
    found = client.http.post(url, content=body, headers={"Content-Type": "application/json"})
    assert found.status_code == 422, found.text
    assert found.json()["code"] == "wrong_type"


def test_float16_is_refused_and_8_bits_are_measured_on_texts_of_other_lengths(
    client: Client, trained: tuple[Any, dict[str, Any]], tmp_path: Path
) -> None:
    url = f"/v1/models/{trained[1]['student']}/exports"
    half = client.http.post(url, json={"format": "fp16"})
    assert half.status_code == 409, half.text
    assert half.json()["code"] == "half_undefined"
    rows = [{"text": row["text"].split()[1], "label": row["label"]} for row in sentences(80, seed=5)]
    shorter = client.upload("datasets", MANIFEST, written(tmp_path, rows))
    assert shorter["tokens"]["text"]["length"] < 16
    job = client.http.post(url, json={"format": "int8", "dataset": shorter["id"]}).json()
    ended = client.get(f"/v1/jobs/{job['id']}?wait=60")
    assert ended["state"] == "succeeded", ended["error"]


def test_transformers_gives_the_second_text_of_a_pair_its_type(client: Client, tmp_path: Path) -> None:
    rows = [{**row, "other": f"number {i % 7}"} for i, row in enumerate(sentences(120))]
    inputs = {"pair": {"kind": "text", "columns": ["text", "other"], "tokenizer": {"size": 320}}}
    dataset = client.upload("datasets", {**MANIFEST, "inputs": inputs}, written(tmp_path, rows))
    spec = {"kind": "train", "dataset": dataset["id"], "model": BERT, "training": {**TRAINING, "steps": 30}}
    student = client.finish(spec)["student"]
    archive = zipfile.ZipFile(io.BytesIO(client.http.get(f"/v1/models/{student}/bundle?wait=60").content))
    archive.extractall(tmp_path / "bundle")
    transformers = package("transformers")
    network = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "bundle" / "huggingface"
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "bundle" / "huggingface")
    first, second = TEXTS, [f"number {i}" for i in range(len(TEXTS))]
    made = tokenizer(first, second, padding=True, truncation=True, return_tensors="pt")
    assert int(made["token_type_ids"].max()) == 1
    with torch.no_grad():
        ours = network(**made).logits.softmax(1)
    pairs = [list(each) for each in zip(first, second, strict=True)]
    found = client.http.post(f"/v1/models/{student}/predict", json={"inputs": {"pair": pairs}})
    assert found.status_code == 200, found.text
    np.testing.assert_allclose(found.json()["outputs"]["label"]["probabilities"], ours.numpy(), atol=1e-5)


def test_transformers_loads_the_student_and_gives_the_same_answers(
    client: Client, trained: tuple[Any, dict[str, Any]], bundle: Path
) -> None:
    transformers = package("transformers")
    network = transformers.AutoModelForSequenceClassification.from_pretrained(bundle / "huggingface").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(bundle / "huggingface")
    rows = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        ours = network(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits.softmax(1)
    found = client.http.post(f"/v1/models/{trained[1]['student']}/predict", json={"inputs": {"text": TEXTS}})
    assert found.status_code == 200, found.text
    answer = found.json()["outputs"]["label"]
    np.testing.assert_allclose(answer["probabilities"], ours.numpy(), atol=1e-5)
    assert answer["class"] == [network.config.id2label[i] for i in ours.argmax(1).tolist()]


def test_programs_of_the_bundle_answer_a_file_of_texts(
    client: Client, trained: tuple[Any, dict[str, Any]], bundle: Path, tmp_path: Path
) -> None:
    def run(*words: str | Path) -> str:
        done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    run(bundle / "predict.py", "--check")
    run(bundle / "texts.py", tmp_path / "rows.npz", tmp_path / "texts.txt")
    lines = [json.loads(line) for line in run(bundle / "predict.py", tmp_path / "rows.npz").splitlines()]
    found = client.http.post(f"/v1/models/{trained[1]['student']}/predict", json={"inputs": {"text": TEXTS}})
    known = found.json()["outputs"]["label"]
    assert [line["label.class"] for line in lines] == known["class"]
    np.testing.assert_allclose([line["label.probabilities"] for line in lines], known["probabilities"], atol=1e-5)


def test_a_student_of_texts_teaches_another_with_another_tokenizer(
    client: Client, trained: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    _, teacher = trained
    inputs = {"text": {"kind": "text", "tokenizer": {"size": 320, "lowercase": False}}}
    other = client.upload("datasets", {**MANIFEST, "inputs": inputs}, written(tmp_path, sentences(120, seed=3)))
    spec = {
        "kind": "distill",
        "dataset": other["id"],
        "teachers": [{"job": teacher["id"]}],
        "student": BERT,
        "training": TRAINING,
        "control": False,
        "repeats": 1,
    }
    job = client.finish(spec)
    report = client.report(job)
    assert report["teachers"][0]["tasks"]["label"]["accuracy"] > 0.95, report["teachers"]
    url = f"/v1/models/{job['student']}/predict?compare=teacher"
    found = client.http.post(url, json={"inputs": {"text": TEXTS}})
    assert found.status_code == 200, found.text
    (theirs,) = found.json()["teachers"]
    own = client.http.post(f"/v1/models/{teacher['student']}/predict", json={"inputs": {"text": TEXTS}})
    assert own.status_code == 200, own.text
    known = own.json()["outputs"]["label"]["probabilities"]
    np.testing.assert_allclose(theirs["answer"]["probabilities"], known, atol=1e-5)
