"""A teacher that is not here: its answers are uploaded as predictions by row id, and teach through a real worker."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from tests.e2e.conftest import Client

ROWS = 1200
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TRAINING: dict[str, Any] = {"epochs": 30, "batch_size": 64, "learning_rate": 0.005, "threads": 1}


def test_the_likeliest_answers_of_a_teacher_elsewhere_teach_rows_without_labels(client: Client, tmp_path: Path) -> None:
    """A tenth of the rows have labels; the teacher names its two likeliest classes of all but some, in any order."""
    found = load_digits()
    random = np.random.default_rng(0)
    few = np.where(random.random(ROWS) < 0.1, found.target[:ROWS], -1)
    few[840:] = found.target[840:ROWS]
    data = tmp_path / "digits.npz"
    ids = np.array([f"scan-{i:04d}" for i in range(ROWS)])
    np.savez(data, x=found.images[:ROWS].astype(np.float32), digit=few, uid=ids)
    manifest: dict[str, Any] = {
        "name": "digits",
        "format": "npz",
        "inputs": {"x": {"kind": "array", "shape": [1, 8, 8], "scale": 0.0625}},
        "targets": {"digit": {"kind": "class", "classes": NAMES}},
        "splits": {"fractions": {"train": 0.7, "validation": 0.15, "test": 0.15}, "shuffle": False},
    }
    dataset = client.upload("datasets", manifest, data)
    assert dataset["state"] == "ready", dataset["rejection"]
    answers = tmp_path / "answers.jsonl"
    with answers.open("w") as file:
        for i in random.permutation(ROWS)[: ROWS - 60].tolist():
            digit = int(found.target[i])
            second = NAMES[(digit + 1) % 10]
            answer = {"scan": ids[i], "first": NAMES[digit], "p": 0.9, "second": second, "q": 0.05}
            file.write(json.dumps(answer) + "\n")
    outputs = {
        "digit": {
            "top_k": {"classes": ["first", "second"], "scores": ["p", "q"]},
            "predicts": {"kind": "class", "output": "probabilities", "classes": NAMES},
        }
    }
    named = {"format": "predictions", "file_format": "jsonl", "of": dataset["id"], "id": "scan", "outputs": outputs}
    refused = client.upload("datasets", {"name": "a language model", **named}, answers)
    assert (refused["state"], refused["rejection"]["code"]) == ("rejected", "missing_column")
    assert "of_column" in refused["rejection"]["message"]
    predictions = client.upload("datasets", {"name": "a language model", **named, "of_column": "uid"}, answers)
    assert predictions["state"] == "ready", predictions["rejection"]
    assert sum(predictions["splits"].values()) == predictions["rows"] == ROWS - 60
    assert [each["code"] for each in predictions["warnings"]] == ["teacher_rows_missing"]
    spec = {
        "kind": "distill",
        "dataset": dataset["id"],
        "target": "digit",
        "teachers": [{"predictions": predictions["id"]}],
        "student": {"family": "mlp", "hidden": [32]},
        "training": TRAINING,
        "repeats": 1,
    }
    report = client.report(client.finish(spec))
    (teacher,) = report["teachers"]
    assert (teacher["name"], teacher["tasks"]["digit"]["accuracy"]) == ("a language model", 1.0)
    assert report["student"]["tasks"]["digit"]["accuracy"] > report["control"]["tasks"]["digit"]["accuracy"]
