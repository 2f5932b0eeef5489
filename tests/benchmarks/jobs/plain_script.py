"""What people write by hand: trains a small network on the digits, by labels alone or with a teacher at every step.

python plain_script.py student | distillation mlp | convnet | resnet8 digits.npz epochs

Prints the seconds of the training loop as JSON. It uses torch and numpy alone, keeps the rows as tensors (a DataLoader
would be slower), evaluates once at the end, and saves the weights.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

TRAIN, BATCH, TEMPERATURE = 3500, 64, 4.0


class Block(nn.Module):
    """A basic block of a residual network (He 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / stride, W / stride]."""
        h = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(h)) + self.shortcut(x))


def convnet(first: int, second: int, hidden: int | None = None) -> nn.Module:
    """Two stages of a convolution and pooling by 2; a hidden layer if asked for; the head."""
    stages: list[nn.Module] = []
    for inputs, outputs in ((1, first), (first, second)):
        stages += [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    size = second * 49
    layers = [nn.Linear(size, hidden), nn.ReLU()] if hidden else []
    return nn.Sequential(*stages, nn.Flatten(), *layers, nn.Linear(hidden or size, 10))


def network(name: str) -> nn.Module:
    """A student by its name, or the `teacher`."""
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))
    if name == "resnet8":
        stem = [nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
        return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return convnet(8, 16) if name == "convnet" else convnet(32, 64, 128)


def soft_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """The divergence of softened probabilities (Hinton 2015)."""
    log_p, q = functional.log_softmax(logits / TEMPERATURE, 1), functional.softmax(teacher / TEMPERATURE, 1)
    return functional.kl_div(log_p, q, reduction="batchmean") * TEMPERATURE**2


def main(kind: str, name: str, path: Path, epochs: int) -> None:
    """Train, evaluate, save, and print the seconds of the loop."""
    with np.load(path) as found:
        x = torch.from_numpy(found["x"]).float().div(255).reshape(-1, 1, 28, 28)
        y = torch.from_numpy(found["digit"])
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    student, teacher = network(name), network("teacher").eval()
    optimizer = torch.optim.Adam(student.parameters(), lr=0.002)
    began = time.perf_counter()
    student.train()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(TRAIN), BATCH):
            logits = student(x[rows])
            loss = functional.cross_entropy(logits, y[rows])
            if kind == "distillation":
                with torch.no_grad():
                    soft = teacher(x[rows])
                loss = 0.1 * loss + 0.9 * soft_loss(logits, soft)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    seconds = time.perf_counter() - began
    student.eval()
    with torch.no_grad():
        accuracy = (student(x[TRAIN:]).argmax(1) == y[TRAIN:]).float().mean()
    torch.save(student.state_dict(), path.with_name(f"plain-{kind}-{name}.pt"))
    print(json.dumps({"training": seconds, "accuracy": float(accuracy)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
