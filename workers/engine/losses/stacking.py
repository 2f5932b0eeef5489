"""What trains learned shares of the teachers: the likelihood that their mixture gives to the labels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.data.columns import Column, Rows
from workers.engine.losses.softmax import log_probabilities
from workers.engine.losses.teacher_mix import LearnedShares, Panel
from workers.engine.losses.term import Seen


@dataclass(frozen=True)
class Stacking:
    """−log Σ_k w_k p_k(label), in which only the shares w are trained (Wolpert 1992, stacked generalisation)."""

    counted: Tensor
    panel: Panel
    module: LearnedShares
    labels: Column
    weight: float = 1.0
    name: str = "teacher_shares"
    relational: bool = False
    taps: tuple[str, ...] = ()

    @classmethod
    def of(cls, panel: Panel, labels: Tensor, shares: LearnedShares, device: torch.device) -> "Stacking":
        """`labels` int64 [N], -1 is missing."""
        return cls(panel.counted & (labels >= 0), panel, shares, Column.on(device, labels))

    def losses(self, seen: Seen, rows: Rows) -> Tensor:
        """See `Term`."""
        labels = self.labels.take(rows)
        places = labels.clamp_min(0)[:, None]
        pairs = zip(self.panel.said(rows), self.panel.specs, strict=True)
        log_p = torch.cat([log_probabilities(said, spec).gather(1, places) for said, spec in pairs], dim=1)
        weighed = torch.log_softmax(self.panel.log_shares.take(rows) + self.module.scores, dim=1)
        losses = -torch.logsumexp(log_p + weighed, dim=1)
        return torch.where(labels >= 0, losses, 0.0)
