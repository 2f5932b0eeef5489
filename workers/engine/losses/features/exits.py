"""Exit branches: predictions of the classes from a student's layers, trained with it and no part of what is exported.

    maps [C, H, W]: 3x3 convolution to `width`, ReLU, mean over places, linear layer to the classes
    tokens [T, D]:  linear layer to `width`, ReLU, mean over tokens, linear layer
    vectors [F]:    linear layer to `width`, ReLU, linear layer

As in OFA-KD (Hao et al. 2023), whose branches are deeper: theirs repeat the kind of block of the student's later stages
(separable convolutions with BatchNorm, or attention). These have no BatchNorm, so that a row's loss does not depend on
the other rows of the batch.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from workers.engine.losses.features.projectors import KINDS
from workers.engine.losses.softmax import widened

Shape = tuple[int, ...]


class Exit(nn.Module):
    """The branch of one layer. Raises ValueError for a layer that is no map, token or vector."""

    def __init__(self, shape: Shape, width: int, classes: int) -> None:
        super().__init__()
        if len(shape) not in KINDS:
            raise ValueError(f"expected {', '.join(KINDS.values())}, found a layer of shape {shape}")
        is_map = len(shape) == 3
        self.hidden = nn.Conv2d(shape[0], width, 3, padding=1) if is_map else nn.Linear(shape[-1], width)
        self.output = nn.Linear(width, classes)
        self.places = {1: (), 2: (1,), 3: (2, 3)}[len(shape)]
        """The dimensions of a batch that are averaged."""

    def forward(self, layer: Tensor) -> Tensor:
        """[n, …] -> logits [n, classes]."""
        hidden = relu(self.hidden(layer))
        logits: Tensor = self.output(hidden.mean(self.places) if self.places else hidden)
        return logits


class Exits(nn.Module):
    """The branches of several layers, by their names."""

    def __init__(self, shapes: Mapping[str, Shape], width: int, classes: int) -> None:
        super().__init__()
        self.layers = tuple(shapes)
        with torch.random.fork_rng(devices=[]):  # new layers draw weights from torch's own generator
            self.branches = nn.ModuleList(Exit(shape, width, classes) for shape in shapes.values())

    def forward(self, taps: Mapping[str, Tensor]) -> list[Tensor]:
        """The student's layers -> the logits [n, classes] of each branch."""
        return [branch(widened(taps[name])) for name, branch in zip(self.layers, self.branches, strict=True)]
