"""Inputs that networks would read unscaled, and those that only look so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from app.contracts.resources.facts import DatasetFacts
from app.contracts.resources.manifests import DatasetManifest
from workers.engine.data.facts import facts_of
from workers.engine.data.reading import read_dataset

CODE = "unscaled_inputs"


def facts(folder: Path, x: NDArray[Any], **spec: Any) -> DatasetFacts:
    path = folder / "data.npz"
    np.savez(path, x=x, y=np.arange(len(x)) % 2)
    inputs = {"x": {"kind": "array", "standardize": False, **spec}}
    document = {"name": "d", "format": "npz", "inputs": inputs, "targets": {"y": {"kind": "class", "classes": 2}}}
    manifest = DatasetManifest.model_validate_json(json.dumps(document))
    return facts_of(read_dataset(path, manifest), manifest)


def told(folder: Path, x: NDArray[Any], **spec: Any) -> list[str]:
    return [each.message for each in facts(folder, x, **spec).warnings if each.code == CODE]


def unscaled() -> dict[str, NDArray[Any]]:
    draw = np.random.default_rng(0)
    return {
        "wine": load_wine().data,
        "breast cancer": load_breast_cancer().data,
        "diabetes, as scikit-learn scales it": load_diabetes().data,
        "diabetes": load_diabetes(scaled=False).data,
        "pixels up to 16": load_digits().data,
        "images up to 255": (load_digits().images[:, None] * 15.9).astype(np.uint8),
        "one large column of eight": draw.normal(size=(200, 8)) * np.r_[np.ones(7), 100.0],
        "years, incomes and ages, all whole": draw.integers([1950, 10_000, 18], [2020, 90_000, 80], (200, 3)),
    }


@pytest.mark.parametrize("name", unscaled())
def test_unscaled_inputs_are_told_and_standardised_ones_are_not(name: str, tmp_path: Path) -> None:
    """Three ways in which the same numbers are fine: standardised by the service's choice, or as the manifest says."""
    x = unscaled()[name]
    (message,) = told(tmp_path, x)
    assert "root mean square" in message or "times that of the median column" in message
    assert not told(tmp_path, x, standardize=None)
    assert not told(tmp_path, x, standardize=True)


def test_the_numbers_are_those_after_the_scale_of_the_manifest(tmp_path: Path) -> None:
    x = (load_digits().images[:, None] * 15.9).astype(np.uint8)
    assert told(tmp_path, x)
    assert not told(tmp_path, x, scale=1 / 255)


def fine() -> dict[str, NDArray[Any]]:
    draw = np.random.default_rng(0)
    embeddings = draw.normal(size=(200, 384))
    sparse = np.where(draw.random((200, 50)) < 0.05, draw.integers(1, 4, (200, 50)), 0)
    return {
        "normal": draw.normal(size=(200, 8)),
        "one-hot": np.eye(100)[draw.integers(0, 100, 200)],
        "one-hot beside numbers": np.c_[draw.normal(size=(200, 3)), np.eye(50)[draw.integers(0, 50, 200)]],
        "embeddings of length 1": embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True),
        "tokens": draw.integers(0, 30_000, (200, 16)),
        "word counts": sparse,
        "pixels up to 1, most of them 0": load_digits().data / 16.0,
        "all zero": np.zeros((200, 4)),
        "a column that is always 0": np.c_[draw.normal(size=(200, 8)), np.zeros(200)],
    }


@pytest.mark.parametrize("name", fine())
def test_scaled_inputs_one_hots_embeddings_and_tokens_are_not_told(name: str, tmp_path: Path) -> None:
    assert not told(tmp_path, fine()[name])


def test_categories_are_not_told(tmp_path: Path) -> None:
    """Ordinal categories are numbers up to 40."""
    spec = {"kind": "category", "encoding": "ordinal"}
    path, document = tmp_path / "data.csv", {"name": "d", "format": "csv", "inputs": {"x": spec}}
    rows = "\n".join(f"c{i % 41:02},{i % 2}" for i in range(205))
    path.write_text(f"x,y\n{rows}\n")
    target = {"y": {"kind": "class", "classes": 2}}
    manifest = DatasetManifest.model_validate_json(json.dumps({**document, "targets": target}))
    assert CODE not in {each.code for each in facts_of(read_dataset(path, manifest), manifest).warnings}
