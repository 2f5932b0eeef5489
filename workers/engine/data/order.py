"""The order of rows: a pure function of (rows, seed, epoch), so that a loader holds no state."""

import torch
from torch import Tensor

from workers.engine.common.seeds import generator


def epoch_order(rows: Tensor, seed: int, epoch: int) -> Tensor:
    """`rows` (int64 [n]) in the order of one epoch."""
    return rows[torch.randperm(len(rows), generator=generator(seed, "order", epoch))]
