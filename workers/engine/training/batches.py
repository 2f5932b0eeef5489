"""The batches of a run: which rows in which order, and how many steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.specs.training import TrainingSpec
from workers.engine.data.mixture import Mixture
from workers.engine.data.order import epoch_order


@dataclass(frozen=True)
class BatchSchedule:
    """Rows of the training and validation splits (int64, host), and for how long they are trained on.

    Rows of several datasets are mixed; then every batch is whole, and an epoch is the batches in which as many rows
    pass as there are (see `Mixture`).
    """

    training: TrainingSpec
    rows: Tensor
    validation: Tensor
    mixture: Mixture | None = None

    @property
    def batches(self) -> int:
        """Optimizer steps in an epoch. A last batch of one row joins the one before it: BatchNorm needs two."""
        size, rows = self.training.batch_size, len(self.rows)
        whole = -(-rows // size)
        if self.mixture is not None:
            return whole
        return whole - 1 if size > 1 and whole > 1 and rows % size == 1 else whole

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.training.steps or (self.training.epochs or 1) * self.batches

    @property
    def epochs(self) -> int:
        """Epochs begun in all."""
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
