"""What is unusual about a dataset, by HTTP: in the dataset's answer, in the dry run, and in the report of a job."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import Client
from tests.engine.plain_training import others

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(800, 6))


def uploaded(client: Client, folder: Path, **arrays: Any) -> dict[str, Any]:
    """A dataset of `x` and these arrays; `s` is a teacher's probabilities."""
    file = folder / "data.npz"
    np.savez(file, x=X[: len(next(iter(arrays.values())))], **arrays)
    predicts = {"kind": "class", "output": "probabilities"}
    targets = {"y": {"kind": "class", "classes": 2}, "s": {"kind": "teacher", "predicts": predicts}}
    named = {name: target for name, target in targets.items() if name in arrays}
    inputs = {"x": {"kind": "array"}}
    return client.upload("datasets", {"name": "d", "format": "npz", "inputs": inputs, "targets": named}, file)


def test_minus_one_labels_are_told_in_the_dataset_the_dry_run_and_the_report(client: Client, tmp_path: Path) -> None:
    y = np.where(X[:, 0] + X[:, 1] > 0, 1, -1)
    dataset = uploaded(client, tmp_path, y=y)
    expected = ["minus_one_is_missing", "class_without_labels"]
    assert [each["code"] for each in dataset["warnings"]] == expected
    train = dataset["statistics"]["y"]["train"]
    assert train["counts"] == [0, train["labelled"]]
    assert train["missing"] == train["rows"] - train["labelled"] > 200
    spec = {
        "kind": "train",
        "dataset": dataset["id"],
        "model": {"family": "mlp", "hidden": [4]},
        "training": {"epochs": 1, "threads": 1},
    }
    dry = client.http.post("/v1/jobs?dry_run=true", json=spec)
    assert dry.status_code == 200, dry.text
    assert others(each["code"] for each in dry.json()["warnings"]) == expected
    report = client.report(client.finish(spec))
    assert others(each["code"] for each in report["warnings"]) == expected


@pytest.mark.parametrize("kind", ["negative", "percent", "other sums", "logits"])
def test_teacher_columns_that_are_no_probabilities_reject_the_dataset(
    client: Client, tmp_path: Path, kind: str
) -> None:
    y = (X[:600, 0] > 0).astype(np.int64)
    columns = {
        "negative": np.stack([-3.0 * y, 3.0 * y], 1),
        "percent": np.stack([100.0 - 90 * y, 10.0 + 80 * y], 1),
        "other sums": np.stack([0.5 - 0.4 * y, 0.1 * y], 1),
        "logits": DRAW.normal(size=(600, 2)) * 4,
    }
    dataset = uploaded(client, tmp_path, y=y, s=columns[kind])
    assert (dataset["state"], dataset["rejection"]["code"]) == ("rejected", "wrong_output")


def test_a_target_among_the_inputs_and_a_doubled_column_are_refused_at_the_manifest(client: Client) -> None:
    files: Any
    for columns, code in ((["a", "y"], "target_among_inputs"), (["a", "a"], "duplicate_column")):
        inputs = {"x": {"kind": "array", "columns": columns}}
        manifest = {"name": "d", "format": "csv", "inputs": inputs, "targets": {"y": {"kind": "value"}}}
        files = {"manifest": (None, json.dumps(manifest)), "file": ("d.csv", b"a,y\n1,2\n3,4\n")}
        answer = client.http.post("/v1/datasets", files=files)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert answer.json()["errors"][0]["pointer"] == "/inputs/x/columns"
