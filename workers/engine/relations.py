"""The task relation matrix R applied by rows: objectives O_i = Σ_j R_ij L_j, kept apart (METHODS.md section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.resolving.relations import normalised


@dataclass(frozen=True)
class Relation:
    """R as given; rows are normalised over the tasks that are present in a batch."""

    matrix: tuple[tuple[float, ...], ...]

    def over(self, present: Sequence[int]) -> Tensor:
        """R restricted to the tasks of a batch, rows summing to 1: [K, K] float32 on the host.

        A task whose helpers are all absent hears only itself.
        """
        part = []
        for a, i in enumerate(present):
            row = [self.matrix[i][j] for j in present]
            part.append(row if sum(row) > 0.0 else [float(a == b) for b in range(len(present))])
        return torch.tensor(normalised(part), dtype=torch.float32)
