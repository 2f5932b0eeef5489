"""Discs and squares on noise: images, and of each pixel what it is of."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.engine.harness import Arrays, EngineHarness

SIDE = 16
CLASSES = ("ground", "disc", "square")
MANIFEST: dict[str, Any] = {
    "name": "shapes",
    "format": "npz",
    "inputs": {"image": {"kind": "array"}},
    "targets": {"map": {"kind": "map", "classes": list(CLASSES)}},
    "splits": {"column": "split"},
}
CONVNET: dict[str, Any] = {"family": "convnet", "channels": [8, 12]}
TRAINING: dict[str, Any] = {"steps": 120, "batch_size": 32, "learning_rate": 0.01}


def shapes(rows: int = 200, labelled: int | None = None, seed: int = 0, side: int = SIDE) -> Arrays:
    """Grey images [rows, 1, side, side] with a bright disc and a dark square on noise, and their maps; of the training
    rows only `labelled` have a map. A fifth of the rows each is for validation and test.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    images = random.normal(scale=0.6, size=(rows, 1, side, side)).astype(np.float32)
    maps = np.zeros((rows, side, side), np.int64)
    for i in range(rows):
        radius, half = random.integers(3, 5), random.integers(2, 4)
        (a, b), (c, d) = random.integers(3, side - 3, size=(2, 2))
        maps[i, (abs(y - c) <= half) & (abs(x - d) <= half)] = 2
        maps[i, (y - a) ** 2 + (x - b) ** 2 <= radius**2] = 1
    images[:, 0] += np.array([0.0, 1.5, -1.5])[maps]
    split = np.array(["train", "train", "train", "validation", "test"])[np.arange(rows) % 5]
    if labelled is not None:
        train = np.flatnonzero(split == "train")
        maps[train[labelled:]] = -1
    return {"image": images, "map": maps, "split": split}


def with_shapes(folder: Path, arrays: Arrays | None = None, **manifest: Any) -> EngineHarness:
    """A harness whose dataset has images and their maps."""
    folder.mkdir(exist_ok=True)
    harness = EngineHarness(folder)
    harness.dataset(shapes() if arrays is None else arrays, **{**MANIFEST, **manifest})
    return harness
