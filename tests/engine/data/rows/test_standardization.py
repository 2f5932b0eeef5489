"""How inputs are standardised where the manifest does not say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.contracts.resources.manifests import DatasetManifest
from workers.engine.data.facts import facts_of
from workers.engine.data.reading import read_dataset
from workers.engine.data.rows.standardization import chosen
from workers.engine.data.transform import apply

DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (60, 64)).astype(np.uint8)
PIXELS[0] = 255
KINDS = DRAW.normal(size=(60, 9)) * 10.0 ** np.arange(9)


@pytest.mark.parametrize(
    ("rows", "way"),
    [
        (PIXELS, "all"),
        (PIXELS.reshape(60, 1, 8, 8), "all"),
        (DRAW.normal(size=(60, 3, 8, 8)), "all"),
        (DRAW.normal(size=(60, 3, 20)) * np.array([1.0, 1e3, 1.0])[:, None], "elements"),
        (KINDS, "elements"),
        (PIXELS[:, :7], "elements"),
        (DRAW.normal(size=(60, 1)), "elements"),
        (np.zeros((60, 1, 4, 4)), "all"),
        (KINDS * 1e25, "none"),
        (KINDS[:0], "none"),
    ],
    ids=[
        "pixels",
        "images",
        "normal images",
        "series in other units",
        "columns",
        "few columns",
        "a column",
        "zeros",
        "too large",
        "no row",
    ],
)
def test_numbers_of_one_kind_have_one_mean_and_others_have_their_own(rows: NDArray[Any], way: str) -> None:
    found, because = chosen(torch.from_numpy(rows))
    assert found == way
    assert because


def read(x: NDArray[Any], folder: Path, **spec: Any) -> tuple[Any, Any]:
    """(facts of the input, its training rows after the transform)."""
    np.savez(folder / "d.npz", x=x, y=np.arange(len(x)) % 2)
    manifest: dict[str, Any] = {"name": "d", "format": "npz", "inputs": {"x": {"kind": "array", **spec}}}
    manifest |= {"targets": {"y": {"kind": "class", "classes": 2}}}
    parsed = DatasetManifest.model_validate_json(json.dumps(manifest))
    dataset = read_dataset(folder / "d.npz", parsed)
    rows = apply(dataset.inputs["x"][dataset.splits["train"]], dataset.transforms["x"]).double()
    return facts_of(dataset, parsed).inputs["x"], rows


def test_what_was_chosen_is_in_the_facts_with_its_reason(tmp_path: Path) -> None:
    facts, rows = read(PIXELS, tmp_path, scale=1 / 255)
    assert (facts.standardize, len(facts.mean), len(facts.std)) == (True, 1, 1)
    assert "same largest number" in facts.because
    assert (float(rows.mean()), float(rows.std(correction=0))) == pytest.approx((0.0, 1.0), abs=1e-4)
    facts, rows = read(KINDS, tmp_path)
    assert len(facts.mean) == 9
    assert rows.mean(0).numpy() == pytest.approx(np.zeros(9), abs=1e-4)
    assert rows.std(0, correction=0).numpy() == pytest.approx(np.ones(9), abs=1e-4)


@pytest.mark.parametrize("standardize", [False, True])
def test_what_the_manifest_says_wins(standardize: bool, tmp_path: Path) -> None:
    facts, _ = read(PIXELS, tmp_path, standardize=standardize)
    assert facts.because is None
    assert facts.standardize is standardize
    assert facts.mean is None or len(facts.mean) == 64


def test_indicators_of_missing_numbers_stay_as_they_are(tmp_path: Path) -> None:
    x = KINDS.copy()
    x[::7, 2] = np.nan
    _, rows = read(x, tmp_path, missing="indicator", scale=0.5)
    assert set(rows[:, 9:].unique().tolist()) == {0.0, 1.0}
