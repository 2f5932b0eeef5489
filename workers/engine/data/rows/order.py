"""The order of rows in an epoch: a pure function of (rows, seed, epoch), so that there is no loader state."""

import torch
from torch import Tensor

from workers.engine.common.seeds import generator


def epoch_order(rows: Tensor, seed: int, epoch: int) -> Tensor:
    """`rows` (int64 [n]) shuffled for one epoch."""
    return rows[torch.randperm(len(rows), generator=generator(seed, "order", epoch))]
