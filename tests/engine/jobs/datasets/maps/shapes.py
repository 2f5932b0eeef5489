"""Discs and squares on noise: images, and of each pixel what it is of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.engine.data.formats.images.archives import encoded, zipped
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
TRAINING: dict[str, Any] = {"steps": 90, "batch_size": 32, "learning_rate": 0.01}


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


def scenes(path: Path, arrays: Arrays) -> Path:
    """The same as a zip of image files with a table of masks; rows without a map have none."""
    files: dict[str, bytes] = {}
    table = []
    for i, (image, labels, split) in enumerate(zip(grey(arrays), arrays["map"], arrays["split"], strict=True)):
        row = {"file_name": f"images/{i:03}.png", "mask": None, "split": str(split)}
        files[f"images/{i:03}.png"] = encoded(image)
        if (labels >= 0).any():
            row["mask"] = f"masks/{i:03}.png"
            files[f"masks/{i:03}.png"] = encoded(labels.astype(np.uint8))
        table.append(json.dumps(row))
    return zipped(path, {**files, "metadata.jsonl": "\n".join(table).encode()})


def grey(arrays: Arrays) -> NDArray[np.uint8]:
    """The images in 8 bits, [rows, side, side]."""
    found: NDArray[np.uint8] = np.clip(128 + 40 * arrays["image"][:, 0], 0, 255).astype(np.uint8)
    return found


def with_shapes(folder: Path, arrays: Arrays | None = None, **manifest: Any) -> EngineHarness:
    """A harness whose dataset has images and their maps."""
    folder.mkdir(exist_ok=True)
    harness = EngineHarness(folder)
    harness.dataset(shapes() if arrays is None else arrays, **{**MANIFEST, **manifest})
    return harness
