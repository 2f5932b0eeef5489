"""What trains learned shares of the teachers: the likelihood that their mixture gives to the labels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.data.rows.columns import Column, Rows
from workers.engine.losses.softmax import log_probabilities
from workers.engine.losses.teacher_mix import LearnedShares, TeacherEnsemble
from workers.engine.losses.term import TermInputs


@dataclass(frozen=True)
class Stacking:
    """−log Σ_k w_k p_k(label), in which only the shares w are trained (Wolpert 1992, stacked generalisation)."""

    counted: Tensor
    ensemble: TeacherEnsemble
    module: LearnedShares
    labels: Column
    weight: float = 1.0
    name: str = "teacher_shares"
    relational: bool = False
    taps: tuple[str, ...] = ()

    @classmethod
    def of(cls, ensemble: TeacherEnsemble, labels: Tensor, shares: LearnedShares, device: torch.device) -> "Stacking":
        """`labels` int64 [N], -1 is missing."""
        return cls(ensemble.counted & (labels >= 0), ensemble, shares, Column.on(device, labels))

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """One loss a row [n], 0 where not counted."""
        labels = self.labels.take(rows)
        places = labels.clamp_min(0)[:, None]
        pairs = zip(self.ensemble.outputs_of(rows), self.ensemble.specs, strict=True)
        log_p = torch.cat([log_probabilities(outputs, spec).gather(1, places) for outputs, spec in pairs], dim=1)
        log_shares = torch.log_softmax(self.ensemble.log_shares.take(rows) + self.module.scores, dim=1)
        losses = -torch.logsumexp(log_p + log_shares, dim=1)
        return torch.where(labels >= 0, losses, 0.0)
