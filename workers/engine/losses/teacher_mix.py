"""A task's teachers together: what each says about every row, and what each weighs there.

Shares of the teachers are those of their weights, over the teachers that say something about a row. With
`confidence` (CA-MKD, Zhang et al. 2022) a labelled row goes by how sure each teacher is of its label:
w_k = (1 − exp(CE_k) / Σ_j exp(CE_j)) / (K − 1), with CE_k the cross-entropy of teacher k. With `learned` the shares are
a softmax of K parameters, trained by the likelihood that the teachers' mixture gives to the labels (stacking), and
nothing of the student's loss reaches them: what made the loss smallest would be the easiest teacher, not the best.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.contracts.resources.manifests import OutputSpec
from workers.engine.data.columns import AugmentedColumn, Column, ColumnLike, Rows
from workers.engine.data.top_k import TopK, TopKColumn
from workers.engine.losses.softmax import log_probabilities, widened

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class AugmentedOutputs:
    """What a teacher says about training rows as they are seen: `of_epoch(e)` [n, size] for the rows `split`."""

    split: Tensor
    of_epoch: Callable[[int], Tensor | TopK]


def column(values: Tensor | TopK, augmented: AugmentedOutputs | None, device: torch.device) -> ColumnLike:
    """`values` [N, size] by row on the device, or what goes with the view of a row."""
    base = TopKColumn(values, device) if isinstance(values, TopK) else Column.on(device, values)
    if augmented is None:
        return base
    return AugmentedColumn(base, augmented.split, lambda epoch: column(augmented.of_epoch(epoch), None, device), device)


@dataclass(frozen=True)
class TeacherOutputs:
    """What one teacher says about every row: raw outputs [N, size] with NaN where it says nothing."""

    values: Tensor | TopK
    spec: OutputSpec
    weight: float
    key: str = ""
    output: str = ""
    augmented: "AugmentedOutputs | None" = None

    @property
    def available(self) -> Tensor:
        """Bool [N]: the rows for which the teacher has an output."""
        if isinstance(self.values, TopK):
            return torch.ones(len(self.values), dtype=torch.bool)
        return ~self.values.isnan().any(1)

    def at(self, rows: Tensor) -> Tensor:
        """What it says about these rows (int64 [n]): [n, size], float32 or wider."""
        return self.values.at(rows) if isinstance(self.values, TopK) else widened(self.values[rows])

    @property
    def numbers(self) -> Tensor:
        """All rows at once [N, size]; for outputs that are kept whole."""
        assert isinstance(self.values, Tensor)
        return widened(self.values)


def shares(all_outputs: tuple[TeacherOutputs, ...]) -> Tensor:
    """What each teacher weighs on each row, [N, K]: rows sum to 1, or to 0 where no teacher speaks."""
    present = torch.stack([teacher_outputs.available for teacher_outputs in all_outputs], dim=1)
    weights = torch.tensor([teacher_outputs.weight for teacher_outputs in all_outputs]) * present
    return weights / weights.sum(1, keepdim=True).clamp_min(_TINY)


def confidence_shares(all_outputs: tuple[TeacherOutputs, ...], labels: Tensor) -> Tensor:
    """CA-MKD's shares [N, K] for class labels int64 [N]; rows without a label keep the teachers' own shares."""
    plain = shares(all_outputs)
    if len(all_outputs) == 1:
        return plain
    present = plain > 0.0
    places = labels.clamp_min(0)[:, None]
    everyone = torch.arange(len(labels))
    logs = [
        log_probabilities(teacher_outputs.at(everyone).nan_to_num(), teacher_outputs.spec).gather(1, places)
        for teacher_outputs in all_outputs
    ]
    doubt = torch.softmax((-torch.cat(logs, dim=1)).masked_fill(~present, -torch.inf), dim=1)
    sure = torch.where(present, 1.0 - doubt.nan_to_num(), 0.0)
    alone = present.sum(1, keepdim=True) <= 1
    sure = torch.where(alone, plain, sure)
    sure = sure / sure.sum(1, keepdim=True).clamp_min(_TINY)
    return torch.where((labels >= 0)[:, None], sure, plain)


@dataclass(frozen=True)
class TeacherEnsemble:
    """The teachers of a task on the device: outputs by row, and log-shares [N, K]."""

    outputs: tuple[ColumnLike, ...]
    specs: tuple[OutputSpec, ...]
    log_shares: Column
    counted: Tensor
    mask: Column | None
    learned: "LearnedShares | None" = None

    @classmethod
    def of(
        cls,
        all_outputs: tuple[TeacherOutputs, ...],
        device: torch.device,
        given: Tensor | None = None,
        learned: "LearnedShares | None" = None,
    ) -> "TeacherEnsemble":
        """For the all_outputs of a task's teachers; `given` are shares other than those of their weights."""
        found = shares(all_outputs) if given is None else given
        counted = found.sum(1) > 0
        return cls(
            tuple(column(teacher_outputs.values, teacher_outputs.augmented, device) for teacher_outputs in all_outputs),
            tuple(teacher_outputs.spec for teacher_outputs in all_outputs),
            Column.on(device, found.log()),
            counted,
            None if bool(counted.all()) else Column.on(device, counted),
            learned,
        )

    def said(self, rows: Rows) -> list[Tensor]:
        """Each teacher's raw outputs for these rows; 0 where it says nothing, which its share makes harmless."""
        return [column.take(rows).nan_to_num() for column in self.outputs]

    def weighed(self, rows: Rows) -> Tensor:
        """Log-shares [K, n] for these rows."""
        found = self.log_shares.take(rows)
        if self.learned is not None:
            found = torch.log_softmax(found + self.learned.scores.detach(), dim=1)
        return found.nan_to_num(neginf=-torch.inf).T

    def masked(self, losses: Tensor, rows: Rows) -> Tensor:
        """`losses` [n], 0 on rows without any teacher."""
        return losses if self.mask is None else torch.where(self.mask.take(rows), losses, 0.0)


class LearnedShares(nn.Module):
    """K scores whose softmax weighs the teachers; equal at first."""

    def __init__(self, teachers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(teachers))
