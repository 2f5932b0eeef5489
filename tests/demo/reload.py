"""A student outside the service: plain torch and safetensors, nothing of Stillhouse.

    python -m tests.demo.reload student.safetensors digits.npz predictions.npz

Prints JSON: rows compared, rows whose top class agrees, the largest difference of a logit.
"""

import json
import sys

import numpy as np
import torch
from safetensors import safe_open
from torch.nn.functional import batch_norm, conv2d, linear, max_pool2d, relu


def student_logits(path: str, images: torch.Tensor) -> torch.Tensor:
    """Logits (N, 10) of a `convnet` without blocks and hidden layers, from its weights file alone."""
    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()["stillhouse"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    architecture, transform = card["architecture"], card["inputs"]["x"]
    x = images.float() * transform["scale"]
    x = (x - torch.tensor(transform["mean"])) / torch.tensor(transform["std"])
    x = x.reshape(-1, *architecture["input_shape"])
    for stage in range(len(architecture["channels"])):
        name = f"stages.{stage}.0"
        x = conv2d(x, weights[f"{name}.conv.weight"], weights.get(f"{name}.conv.bias"), padding=1)
        running = weights[f"{name}.norm.running_mean"], weights[f"{name}.norm.running_var"]
        x = batch_norm(x, *running, weights[f"{name}.norm.weight"], weights[f"{name}.norm.bias"])
        x = max_pool2d(relu(x), 2)
    return linear(x.flatten(1), weights["layers.0.weight"], weights["layers.0.bias"])


def main(weights: str, data: str, predictions: str) -> None:
    """Compare the reloaded student with the service's own predictions on every test row."""
    with np.load(predictions) as outputs, np.load(data) as rows:
        images = torch.from_numpy(rows["x"][outputs["test/row"]])
        theirs = torch.from_numpy(outputs["test/few/student"])
    with torch.no_grad():
        ours = student_logits(weights, images)
    agreeing = int((ours.argmax(1) == theirs.argmax(1)).sum())
    largest = float((ours - theirs).abs().max())
    print(json.dumps({"rows": len(ours), "agreeing": agreeing, "largest_difference": largest}))


if __name__ == "__main__":
    main(*sys.argv[1:4])
