"""A student of some blocks of its teacher, and one that starts from a model: by HTTP, and back into transformers."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.e2e.conftest import Client
from tests.engine.jobs.texts.sentences import BERT, MANIFEST, sentences, written
from workers.engine.models.families.library.packages import package

TEXTS = [row["text"] for row in sentences(8, seed=9)]
TRAINING: dict[str, Any] = {"steps": 20, "batch_size": 32, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def dataset(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = written(tmp_path_factory.mktemp("sentences"), sentences())
    found = client.upload("datasets", MANIFEST, path)
    assert found["state"] == "ready", found["rejection"]
    return str(found["id"])


@pytest.fixture(scope="module")
def chain(client: Client, dataset: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(job of a teacher of three blocks, job of a student with two of them), submitted at once."""
    model = {**BERT, "config": {**BERT["config"], "num_hidden_layers": 3}}
    teacher = client.submit({"kind": "train", "dataset": dataset, "model": model, "training": TRAINING})
    student = client.finish(distill(dataset, teacher["id"], {"from_teacher": {"layers": [0, 2]}}))
    return client.get(f"/v1/jobs/{teacher['id']}"), student


def distill(dataset: str, teacher: str, student: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "distill",
        "dataset": dataset,
        "teachers": [{"job": teacher}],
        "student": student,
        "distillation": {"allow_chance_teacher": True},
        "training": TRAINING,
        "control": False,
        "repeats": 1,
    }


def test_a_part_of_a_teacher_is_trained_and_loaded_by_transformers(
    client: Client, chain: tuple[Any, dict[str, Any]], tmp_path: Path
) -> None:
    teacher, student = chain
    report = client.report(student)
    assert report["spec"]["student"]["pretrained"] == teacher["id"]
    assert report["spec"]["student"]["cut"]["layers"] == [0, 2]
    found = client.http.get(f"/v1/models/{student['student']}/bundle?wait=60")
    assert found.status_code == 200, found.text
    with zipfile.ZipFile(io.BytesIO(found.content)) as archive:
        archive.extractall(tmp_path)
    assert json.loads((tmp_path / "huggingface" / "config.json").read_text())["num_hidden_layers"] == 2
    transformers = package("transformers")
    network = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "huggingface").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "huggingface")
    rows = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        ours = network(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits.softmax(1)
    answer = client.http.post(f"/v1/models/{student['student']}/predict", json={"inputs": {"text": TEXTS}})
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["outputs"]["label"]["probabilities"], ours.numpy(), atol=1e-5)


def test_a_model_is_a_student_by_its_id(client: Client, dataset: str, chain: tuple[dict[str, Any], Any]) -> None:
    teacher, _ = chain
    spec = distill(dataset, teacher["id"], {"model": teacher["student"]})
    dry = client.http.post("/v1/jobs?dry_run=true", json=spec).json()
    assert dry["complete"], dry
    assert dry["spec"]["student"]["family"] == "huggingface"
    assert dry["spec"]["student"]["pretrained"] == teacher["student"]
    assert dry["chosen"]["/student/family"]["because"].startswith("that of the model")


@pytest.mark.parametrize(
    ("student", "pointer", "code"),
    [
        ({"from_teacher": {"layers": [0, 3]}}, "/student/from_teacher/layers/1", "unknown_block"),
        ({"from_teacher": {"layers": []}}, "/student/from_teacher/layers", "too_short"),
        ({"from_teacher": {"teacher": 1}}, "/student/from_teacher/teacher", "unknown_teacher"),
        ({"from_teacher": {"width": {}}}, "/student/from_teacher/width", "invalid_value"),
        ({"from_teacher": {"layer": [0]}}, "/student/from_teacher/layer", "unknown_field"),
        ({"model": "mdl_1"}, "/student/model", "bad_format"),
        ({"model": "mdl_01890a5d-ac96-774b-bcce-b302099a8057"}, "/student/model", "unknown_model"),
        ({"hidden": [4]}, "/student", "missing"),
    ],
)
def test_what_is_no_part_and_no_model_is_refused_by_its_place(
    client: Client, dataset: str, chain: tuple[dict[str, Any], Any], student: dict[str, Any], pointer: str, code: str
) -> None:
    answer = client.http.post("/v1/jobs?dry_run=true", json=distill(dataset, chain[0]["id"], student))
    assert answer.status_code == 422, answer.text
    assert [(each["pointer"], each["code"]) for each in answer.json()["errors"]] == [(pointer, code)]
