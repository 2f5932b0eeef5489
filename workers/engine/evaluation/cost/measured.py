"""What is measured: ONNX files and torch networks, each with rows that it takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workers.engine.data.formats.common import Array


@dataclass(frozen=True)
class MeasuredFile:
    """An ONNX file of a party. `rows`: what it takes, by the graph's names, [n, …] with n >= 1."""

    party: str
    path: Path
    rows: Mapping[str, Array]

    def batch(self, size: int) -> dict[str, Array]:
        """So many rows, repeated if there are too few."""
        return {name: rows[np.arange(size) % len(rows)] for name, rows in self.rows.items()}


@dataclass(frozen=True)
class MeasuredNetwork:
    """The torch network of a party: `forward` runs one pass on the CPU, `rows` [n, …] are what it takes (n >= 1)."""

    party: str
    forward: Callable[[Tensor], object]
    rows: Tensor

    def batch(self, size: int) -> Tensor:
        """So many rows, repeated if there are too few."""
        return self.rows[torch.arange(size) % len(self.rows)].contiguous()
