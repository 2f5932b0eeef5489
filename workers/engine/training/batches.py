"""The batches of a run: their rows, order and number."""

from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.specs.training import TrainingSettings
from workers.engine.data.mixture import Mixture
from workers.engine.data.rows.order import epoch_order


@dataclass(frozen=True)
class BatchSchedule:
    """Rows of the training and validation splits (int64, host), their batches, and the number of steps.

    Rows of several datasets are mixed; then all batches have the same size, and an epoch is as many batches as all rows
    fill (see `Mixture`).
    """

    training: TrainingSettings
    rows: Tensor
    validation: Tensor
    mixture: Mixture | None = None

    @property
    def batches(self) -> int:
        """Optimizer steps of an epoch. A last batch of one row is merged into the one before: BatchNorm needs two."""
        size, rows = self.training.batch_size, len(self.rows)
        batches = -(-rows // size)
        if self.mixture is not None:
            return batches
        return batches - 1 if size > 1 and batches > 1 and rows % size == 1 else batches

    @property
    def steps(self) -> int:
        """Optimizer steps of the run."""
        return self.training.steps or (self.training.epochs or 1) * self.batches

    @property
    def epochs(self) -> int:
        """Epochs of the run, the last of which may be incomplete."""
        return -(-self.steps // self.batches)

    def epoch(self, number: int) -> list[Tensor]:
        """The batches of epoch `number` (from 0), as row numbers."""
        size, seed = self.training.batch_size, self.training.seed
        if self.mixture is not None:
            return self.mixture.epoch(size, self.batches, seed, number)
        order = epoch_order(self.rows, seed, number)
        parts = list(torch.split(order, size))
        if len(parts) > self.batches:
            parts[-2:] = [torch.cat(parts[-2:])]
        return parts
