"""A student outside the service: timm loads it from a folder of its bundle, and answers for image files.

    python -m tests.demo.images.reload FOLDER rows.npz answers.json

`rows.npz`: pixels of image files, by `images.py` of the bundle. `answers.json`: what the service answers for the files.
Prints JSON: images compared, images whose class agrees, the largest difference of a probability.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from workers.engine.models.families.library.packages import package


def main(folder: Path, rows: Path, answers: Path) -> None:
    """Compare the reloaded student with the service's own answers for the same files."""
    timm = package("timm")
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(network)
    mean, std = (torch.tensor(config[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    with np.load(rows) as file:
        pixels = torch.from_numpy(file["image"]).movedim(-1, 1).float() / 255
    with torch.no_grad():
        ours = network((pixels - mean) / std).softmax(1)
    names = network.pretrained_cfg["label_names"]
    task = json.loads(answers.read_text())["outputs"]["few"]
    agreeing = sum(names[i] == name for i, name in zip(ours.argmax(1).tolist(), task["class"], strict=True))
    largest = float((ours - torch.tensor(task["probabilities"])).abs().max())
    print(json.dumps({"rows": len(ours), "agreeing": agreeing, "largest_difference": largest}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
