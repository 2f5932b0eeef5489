"""Both programs of the seed article, corrected, through the HTTP API."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.demo.digits import write_article
from tests.e2e.conftest import Client

MLP: dict[str, Any] = {"family": "mlp", "hidden": [20]}
TEN_EPOCHS: dict[str, Any] = {"epochs": 10, "batch_size": 100, "optimizer": "sgd", "momentum": 0.0, "threads": 1}


def distillation(dataset: dict[str, Any], teacher: str) -> dict[str, Any]:
    """The article's second half: temperature 2, soft targets alone."""
    return {
        "kind": "distill",
        "repeats": 1,
        "dataset": dataset["id"],
        "target": "y1",
        "teachers": [{"model": teacher}],
        "student": MLP,
        "distillation": {
            "soft_targets": {"method": "kd", "temperature": 2.0, "weight": 1.0},
            "supervised": {"weight": 0.0},
            "allow_chance_teacher": True,
        },
        "training": {**TEN_EPOCHS, "learning_rate": 0.001},
    }


@pytest.fixture(scope="module")
def teacher(client: Client, article: dict[str, Any]) -> str:
    """The article's 10-20-10 teacher, trained for ten epochs."""
    spec = {
        "kind": "train",
        "dataset": article["id"],
        "target": "y1",
        "model": MLP,
        "training": {**TEN_EPOCHS, "learning_rate": 0.01},
    }
    job = client.finish(spec)
    student: str = job["student"]
    return student


def test_the_10_20_10_teacher_is_trained_and_distilled(client: Client, article: dict[str, Any], teacher: str) -> None:
    job = client.finish(distillation(article, teacher))
    report = client.report(job)
    assert report["student"]["parameters"] == 10 * 20 + 20 + 20 * 10 + 10
    assert report["teachers"][0]["parameters"] == report["student"]["parameters"]
    # All rows train, so nothing was held out to judge by; the report says so instead of guessing.
    assert report["verdict"]["y1"]["verdict"] == "not_applicable"
    assert report["student"]["steps"] == 10


def test_random_labels_make_a_teacher_at_chance_level_which_is_refused_unless_allowed(
    client: Client, article: dict[str, Any], teacher: str
) -> None:
    spec = distillation(article, teacher)
    spec["distillation"]["allow_chance_teacher"] = False
    job = client.submit(spec)
    job = client.get(f"/v1/jobs/{job['id']}?wait=60")
    assert job["state"] == "failed"
    assert job["error"]["code"] == "teacher_mismatch"
    assert job["error"]["class"] == "user"


def own_teacher(path: Path) -> Path:
    """A teacher of one's own with the article's parameter names."""
    generator = torch.Generator().manual_seed(3)
    shapes = {"fc1.weight": (20, 10), "fc1.bias": (20,), "fc2.weight": (10, 20), "fc2.bias": (10,)}
    save_file({name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}, path)
    return path


def test_a_teacher_with_parameters_named_fc1_and_fc2_is_taken_through_rename(
    client: Client, article: dict[str, Any], tmp_path: Path
) -> None:
    file = own_teacher(tmp_path / "teacher.safetensors")
    manifest: dict[str, Any] = {
        "name": "own",
        "format": "safetensors",
        "architecture": {**MLP, "input_shape": [10], "outputs": {"y1": 10}},
        "rename": {"fc1": "layers.0", "fc2": "layers.1"},
        "outputs": {"y1": {"kind": "class", "output": "logits"}},
    }
    model = client.upload("models", manifest, file)
    assert model["state"] == "ready", model["rejection"]
    job = client.finish(distillation(article, model["id"]))
    predictions = client.download(f"/v1/jobs/{job['id']}/predictions?split=train", tmp_path / "p.npz")
    weights = load_file(file)
    with np.load(predictions) as found, np.load(_rows(tmp_path)) as rows:
        x = torch.from_numpy(rows["x"][found["train/row"]])
        hidden = torch.relu(x @ weights["fc1.weight"].T + weights["fc1.bias"])
        expected = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
        torch.testing.assert_close(torch.from_numpy(found["train/y1/teacher"]), expected, rtol=1e-5, atol=1e-5)


def _rows(folder: Path) -> Path:
    write_article(folder / "rows.npz")
    return folder / "rows.npz"


def test_without_rename_the_missing_and_unexpected_parameters_are_named(client: Client, tmp_path: Path) -> None:
    manifest: dict[str, Any] = {
        "name": "own",
        "format": "safetensors",
        "architecture": {**MLP, "input_shape": [10], "outputs": {"y1": 10}},
        "outputs": {"y1": {"kind": "class", "output": "logits"}},
    }
    model = client.upload("models", manifest, own_teacher(tmp_path / "teacher.safetensors"))
    assert model["state"] == "rejected"
    message = model["rejection"]["message"]
    assert all(name in message for name in ("layers.0.weight", "fc1.weight", "rename"))


def test_the_two_head_model_learns_loss1_plus_half_loss2(client: Client, article: dict[str, Any]) -> None:
    spec = {
        "kind": "multitask",
        "dataset": article["id"],
        "tasks": [{"name": "y1", "weight": 1.0}, {"name": "y2", "weight": 0.5}],
        "student": MLP,
        "training": {**TEN_EPOCHS, "learning_rate": 0.01},
    }
    job = client.finish(spec)
    report = client.report(job)
    assert report["student"]["parameters"] == 10 * 20 + 20 + 2 * (20 * 10 + 10)
    series = client.get(f"/v1/jobs/{job['id']}/metrics")["series"]
    totals = {point["step"]: point["value"] for point in series["train/loss"]}
    for step, total in totals.items():
        parts = [
            next(point["value"] for point in series[f"train/{task}/supervised"] if point["step"] == step)
            for task in ("y1", "y2")
        ]
        assert total == pytest.approx(parts[0] + 0.5 * parts[1], rel=1e-5)


def test_the_articles_r_is_given_by_groups_and_what_the_tasks_do_to_each_other_is_reported(
    client: Client, article: dict[str, Any]
) -> None:
    """R_ij = 1 where tasks i and j are related, L = R · L_task, kept apart for a gradient balancer."""
    spec = {
        "kind": "multitask",
        "dataset": article["id"],
        "tasks": [{"name": "y1"}, {"name": "y2"}],
        "student": MLP,
        "relation": {"groups": [["y1", "y2"]], "apply": "rows"},
        "training": {**TEN_EPOCHS, "learning_rate": 0.01},
    }
    job = client.finish(spec)
    found = client.get(f"/v1/jobs/{job['id']}/relation")
    assert (found["final"], found["source"], found["apply"]) == (True, "given", "rows")
    assert found["matrix"] == [[0.5, 0.5], [0.5, 0.5]]
    assert found["cosine"][0][0] == pytest.approx(1.0)
    assert (found["measured"], found["proposal"]) == (1, None), "one look is no evidence"
