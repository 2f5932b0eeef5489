"""Targets and networks' answers, made by hand or drawn from a seed."""

from statistics import NormalDist

import torch
from torch import Tensor

from app.contracts.specs.distillation import TaskKind
from workers.engine.data.dataset import TargetColumn


def target_of(values: Tensor, kind: TaskKind = "class", size: int = 2) -> TargetColumn:
    """A target whose missing labels are -1 (class) or NaN."""
    if kind == "class":
        labelled = values >= 0
    elif values.dim() == 1:
        labelled = ~values.isnan()
    else:
        labelled = ~values.isnan().all(dim=1)
    return TargetColumn(kind=kind, size=size, values=values, labelled=labelled, classes=None, predicts=None)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def right_or_wrong(right: Tensor) -> Tensor:
    """Two-class logits [..., 2] that are right (bool [...]) where every label is 0."""
    return torch.stack([right.double(), 1.0 - right.double()], dim=-1)


def drawn_right(
    networks: int,
    rows: int,
    accuracy: float,
    generator: torch.Generator,
    *,
    difficulty: Tensor,
    own_rows: float = 0.0,
    seeds: float = 0.0,
    noise: float = 0.4,
) -> Tensor:
    """Bool [networks, rows]: which rows the networks of one group get right, in a probit model.

    A row is right where threshold + difficulty_r + own_r + seed_s + noise_sr > 0. `difficulty` (standard normal,
    [rows]) is what both groups share, `own_rows` the deviation of what this group finds hard beyond it, `seeds` that
    between networks, `noise` that of network and row together. `accuracy` is what the group has over all seeds and
    rows.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    spread = (1.0 + own_rows**2 + seeds**2 + noise**2) ** 0.5
    threshold = NormalDist().inv_cdf(accuracy) * spread
    score = threshold + difficulty + own_rows * normal(rows) + seeds * normal(networks, 1)
    right: Tensor = score + noise * normal(networks, rows) > 0.0
    return right
