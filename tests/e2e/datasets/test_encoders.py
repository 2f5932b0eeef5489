"""An encoder of sentences as a folder, a student of it, and its vectors: by HTTP, and back into transformers."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.e2e.conftest import Client
from tests.engine.jobs.texts.sentences import BERT, MANIFEST, TRAINING, sentences, written
from tests.engine.jobs.texts.teachers import LENGTH, WORDS, words_alone
from tests.engine.models.library.encoders import encoder, mean_vectors, sentence_folder, zipped
from workers.engine.models.families.library.packages import package

TEXTS = [row["text"] for row in sentences(8, seed=9)]
BLOCK = "trunk.encoder.layer.0"


def uploaded(client: Client, folder: Path) -> dict[str, Any]:
    """The encoder as a ready model."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "max_position_embeddings": LENGTH, "vocab_size": len(WORDS)}
    made = sentence_folder(encoder("bert", **sizes), folder / "model")
    words_alone().save_pretrained(made)
    manifest = {"name": "encoder", "format": "huggingface", "outputs": {"meaning": {"kind": "vector"}}}
    model = client.upload("models", manifest, zipped(made, folder / "model.zip"))
    assert model["state"] == "ready", model["rejection"]
    return model


@pytest.mark.exhaustive
def test_a_student_of_an_encoder_answers_as_its_folder_does(client: Client, tmp_path: Path) -> None:
    teacher = uploaded(client, tmp_path)
    rows = written(tmp_path, [{"text": row["text"]} for row in sentences()])
    dataset = client.upload("datasets", {**MANIFEST, "targets": {}}, rows)
    assert dataset["state"] == "ready", dataset["rejection"]
    listed = client.http.get(f"/v1/models/{teacher['id']}/layers").json()
    assert BLOCK in str(listed)
    layers = {"method": "hidden_states", "teacher_layer": BLOCK, "student_layer": BLOCK}
    job = client.finish({
        "kind": "distill",
        "dataset": dataset["id"],
        "teachers": [{"model": teacher["id"]}],
        "student": {
            **BERT, "tokenizer": teacher["id"], "embedding": {"pooling": "mean", "normalize": True},
        },
        "distillation": {"soft_targets": {"method": "cosine"}, "features": layers},
        "training": TRAINING,
        "exports": ["onnx"],
    })  # fmt: skip
    answer = client.http.post(f"/v1/models/{job['student']}/predict", json={"inputs": {"text": TEXTS}})
    assert answer.status_code == 200, answer.text
    (ours,) = answer.json()["outputs"]["meaning"].values()
    found = client.http.get(f"/v1/models/{job['student']}/bundle?wait=60")
    assert found.status_code == 200, found.text
    with zipfile.ZipFile(io.BytesIO(found.content)) as archive:
        archive.extractall(tmp_path / "bundle")
    folder = tmp_path / "bundle" / "huggingface"
    transformers = package("transformers")
    made = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    network = transformers.AutoModel.from_pretrained(folder).eval()
    theirs = mean_vectors(network, made["input_ids"], made["attention_mask"].bool(), unit=True)
    torch.testing.assert_close(torch.from_numpy(np.array(ours, np.float32)), theirs, rtol=0, atol=1e-5)
    assert (folder / "1_Pooling" / "config.json").exists()
