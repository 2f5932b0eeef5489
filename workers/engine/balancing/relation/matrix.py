"""The task relation matrix R as balancers use it: by rows, O_i = Σ_j R_ij L_j."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.resolving.multitask.relations import normalised

Matrix = tuple[tuple[float, ...], ...]


@dataclass
class Relation:
    """R as it is now; `version` counts its changes. Rows are normalised over the tasks that are present in a batch."""

    matrix: Matrix
    version: int = 0

    def become(self, matrix: Matrix) -> None:
        """Another R from the next step on."""
        if matrix != self.matrix:
            self.matrix = matrix
            self.version += 1

    def over(self, present: Sequence[int]) -> Tensor:
        """R restricted to the tasks of a batch, rows summing to 1: [K, K] float32 on the host.

        A task whose helpers are all absent learns from its own loss only.
        """
        part = []
        for a, i in enumerate(present):
            row = [self.matrix[i][j] for j in present]
            part.append(row if sum(row) > 0.0 else [float(a == b) for b in range(len(present))])
        return torch.tensor(normalised(part), dtype=torch.float32)
