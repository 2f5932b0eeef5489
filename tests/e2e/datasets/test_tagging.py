"""Labels of tokens: ids and words, a student of transformers, by HTTP, and back into transformers."""

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
from tests.engine.jobs.texts.tags import BERT, MANIFEST, TRAINING, tagged, worded, words_manifest, written
from workers.engine.models.families.library.packages import package

IDS = [row["ids"] for row in tagged(12, seed=9)]
WORDS = [row["words"] for row in worded(6, seed=9)]


@pytest.fixture(scope="module")
def student(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Id of a student that was distilled of another."""
    dataset = client.upload("datasets", MANIFEST, written(tmp_path_factory.mktemp("tags"), tagged()))
    assert dataset["state"] == "ready", dataset["rejection"]
    common = {"dataset": dataset["id"], "training": TRAINING}
    teacher = client.finish({"kind": "train", "model": BERT, **common})
    spec = {"kind": "distill", "teachers": [{"model": teacher["student"]}], "student": BERT, "control": False}
    return str(client.finish({**spec, **common, "exports": ["onnx"]})["student"])


@pytest.fixture(scope="module")
def bundle(client: Client, student: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(client, student, tmp_path_factory.mktemp("bundle"))


def unpacked(client: Client, student: str, folder: Path) -> Path:
    found = client.http.get(f"/v1/models/{student}/bundle?wait=60")
    assert found.status_code == 200, found.text
    with zipfile.ZipFile(io.BytesIO(found.content)) as archive:
        archive.extractall(folder)
    return folder


def answered(client: Client, student: str, body: dict[str, Any], query: str = "") -> dict[str, Any]:
    found = client.http.post(f"/v1/models/{student}/predict{query}", json=body)
    assert found.status_code == 200, found.text
    answer: dict[str, Any] = found.json()
    return answer


def run(*words: str | Path) -> str:
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lists_of_ids_are_answered_in_every_form_of_rows(client: Client, student: str) -> None:
    known = answered(client, student, {"rows": [{"ids": ids} for ids in IDS]})["outputs"]["tag"]
    assert [len(row) for row in known["class"]] == [len(ids) for ids in IDS], "an answer for each token, none more"
    assert known["class"] == [["odd" if each % 2 else "even" for each in ids] for ids in IDS]
    arrays = io.BytesIO()
    np.savez(arrays, ids=np.array([[*ids, *[0] * (8 - len(ids))] for ids in IDS]))
    for kind, body in (
        ("application/json", json.dumps({"inputs": {"ids": IDS}}).encode()),
        ("application/x-ndjson", "".join(json.dumps({"ids": ids}) + "\n" for ids in IDS).encode()),
        ("application/x-npz", arrays.getvalue()),
    ):
        found = client.http.post(f"/v1/models/{student}/predict", content=body, headers={"Content-Type": kind})
        assert found.status_code == 200, (kind, found.text)
        assert found.json()["outputs"]["tag"] == known, kind


def test_a_teacher_is_compared_token_by_token(client: Client, student: str) -> None:
    (teacher,) = answered(client, student, {"inputs": {"ids": IDS}}, "?compare=teacher")["teachers"]
    assert teacher["not_answered"] is None
    assert teacher["agreement"]["same"] == 1.0
    assert [len(row) for row in teacher["answer"]["class"]] == [len(ids) for ids in IDS]


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([[1, 12]], "out_of_range"),
        ([[1, -1]], "out_of_range"),
        ([[1] * 9], "shape_mismatch"),
        ([[]], "wrong_type"),
        ([[1.5]], "wrong_type"),
        ([["1"]], "wrong_type"),
        ([[[1]]], "wrong_type"),
        ([3], "wrong_type"),
        ([[1, 0]], "out_of_range"),
    ],
)
def test_what_is_no_list_of_ids_is_refused_by_its_place(
    client: Client, student: str, rows: list[Any], code: str
) -> None:
    found = client.http.post(f"/v1/models/{student}/predict", json={"inputs": {"ids": rows}})
    assert found.status_code == 422, found.text
    assert found.json()["errors"][0]["code"] == code, found.text
    assert found.json()["errors"][0]["pointer"].startswith("/inputs/ids/0")


def test_transformers_loads_the_student_and_gives_the_same_answers(client: Client, student: str, bundle: Path) -> None:
    loaded = package("transformers").AutoModelForTokenClassification.from_pretrained(bundle / "huggingface").eval()
    answer = answered(client, student, {"inputs": {"ids": IDS}})["outputs"]["tag"]
    for ids, probabilities, classes in zip(IDS, answer["probabilities"], answer["class"], strict=True):
        with torch.no_grad():
            ours = loaded(input_ids=torch.tensor([ids])).logits.softmax(2)[0]
        np.testing.assert_allclose(probabilities, ours.numpy(), atol=1e-5)
        assert classes == [loaded.config.id2label[i] for i in ours.argmax(1).tolist()]


def test_programs_of_the_bundle_answer_files_of_ids(client: Client, student: str, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"ids": ids}) + "\n" for ids in IDS))
    run(bundle / "predict.py", "--check")
    run(bundle / "ids.py", tmp_path / "rows.npz", tmp_path / "rows.jsonl")
    lines = [json.loads(line) for line in run(bundle / "predict.py", tmp_path / "rows.npz").splitlines()]
    answer = answered(client, student, {"inputs": {"ids": IDS}})["outputs"]["tag"]
    for ids, line, classes in zip(IDS, lines, answer["class"], strict=True):
        assert line["tag.class"][: len(ids)] == classes
    assert "ids.py" in (bundle / "README.md").read_text()


def test_words_are_answered_one_by_one(client: Client, tmp_path: Path) -> None:
    dataset = client.upload("datasets", words_manifest(), written(tmp_path, worded()))
    assert dataset["state"] == "ready", dataset["rejection"]
    spec = {"kind": "train", "dataset": dataset["id"], "model": BERT, "training": TRAINING, "exports": ["onnx"]}
    student = client.finish(spec)["student"]
    answer = answered(client, student, {"inputs": {"words": WORDS}})["outputs"]["tag"]
    assert answer["class"] == [["B-PER" if each in ("Ada", "Grace") else "O" for each in row] for row in WORDS]
    assert answered(client, student, {"rows": [{"words": row} for row in WORDS]})["outputs"]["tag"] == answer
    bundle = unpacked(client, student, tmp_path / "bundle")
    transformers = package("transformers")
    loaded = transformers.AutoModelForTokenClassification.from_pretrained(bundle / "huggingface").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(bundle / "huggingface")
    made = tokenizer(WORDS, is_split_into_words=True, padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs = loaded(input_ids=made["input_ids"], attention_mask=made["attention_mask"]).logits.softmax(2)
    for i, row in enumerate(answer["probabilities"]):
        firsts = [made.word_ids(i).index(j) for j in range(len(WORDS[i]))]
        np.testing.assert_allclose(row, theirs[i, firsts].numpy(), atol=1e-5)
    for body, code in (
        ({"inputs": {"words": ["Ada wrote"]}}, "wrong_type"),
        ({"inputs": {"words": [["Ada", ""]]}}, "words_cut"),
        ({"inputs": {"words": [["Ada"] * 40]}}, "words_cut"),
    ):
        found = client.http.post(f"/v1/models/{student}/predict", json=body)
        assert found.status_code == 422, found.text
        assert found.json()["errors"][0]["code"] == code, found.text
