"""The teachers of a task: the outputs of each for every row, and the share of each there.

Shares are those of the teachers' weights, over the teachers that have outputs for a row. With `confidence` (CA-MKD,
Zhang et al. 2022) the shares of a labelled row depend on how sure each teacher is of its label:
w_k = (1 − exp(CE_k) / Σ_j exp(CE_j)) / (K − 1), with CE_k the cross-entropy of teacher k. With `learned` the shares are
a softmax of K parameters, trained by the likelihood that the teachers' mixture gives to the labels (stacking), and
nothing of the student's loss reaches them: what made the loss smallest would be the easiest teacher, not the best.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.contracts.resources.manifests import OutputSpec
from workers.engine.data.rows.columns import AugmentedColumn, Column, ColumnLike, Rows
from workers.engine.data.top_k.rows import TopK, TopKColumn
from workers.engine.losses.softmax import log_probabilities, widened

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class AugmentedOutputs:
    """A teacher's outputs for augmented training rows: `of_epoch(e)` [n, size] for the rows `split`."""

    split: Tensor
    of_epoch: Callable[[int], Tensor | TopK]


def column(values: Tensor | TopK, augmented: AugmentedOutputs | None, device: torch.device) -> ColumnLike:
    """`values` [N, size] by row on the device, or the outputs for the row as it is augmented."""
    base = TopKColumn(values, device) if isinstance(values, TopK) else Column.on(device, values)
    if augmented is None:
        return base
    return AugmentedColumn(base, augmented.split, lambda epoch: column(augmented.of_epoch(epoch), None, device), device)


@dataclass(frozen=True)
class TeacherOutputs:
    """Raw outputs of one teacher for every row, [N, size] with NaN where it has none; of tokens or pixels
    [N, positions, size].
    """

    values: Tensor | TopK
    spec: OutputSpec
    weight: float
    key: str = ""
    output: str = ""
    augmented: "AugmentedOutputs | None" = None
    select: Callable[[Tensor], Tensor] | None = None
    """What `values` and `augmented` are of the teacher's own outputs [n, all]; None: those outputs themselves."""

    @property
    def available(self) -> Tensor:
        """Bool [N]: the rows that the teacher has outputs for."""
        if isinstance(self.values, TopK):
            return torch.ones(len(self.values), dtype=torch.bool)
        return ~self.values.flatten(1).isnan().any(1)

    @property
    def size(self) -> int:
        """Number of outputs of a row, or of a token or pixel."""
        return self.values.packing.size if isinstance(self.values, TopK) else self.values.shape[-1]

    def at(self, rows: Tensor) -> Tensor:
        """The outputs for these rows (int64 [n]): [n, size], float32 or wider."""
        return self.values.at(rows) if isinstance(self.values, TopK) else widened(self.values[rows])

    @property
    def numbers(self) -> Tensor:
        """All rows at once [N, size]; for outputs that are kept whole."""
        assert isinstance(self.values, Tensor)
        return widened(self.values)


def shares(all_outputs: tuple[TeacherOutputs, ...]) -> Tensor:
    """The share of each teacher on each row, [N, K]: rows sum to 1, or to 0 where no teacher has outputs."""
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
    every_row = torch.arange(len(labels))
    logs = [
        log_probabilities(teacher_outputs.at(every_row).nan_to_num(), teacher_outputs.spec).gather(1, places)
        for teacher_outputs in all_outputs
    ]
    doubt = torch.softmax((-torch.cat(logs, dim=1)).masked_fill(~present, -torch.inf), dim=1)
    confidence = torch.where(present, 1.0 - doubt.nan_to_num(), 0.0)
    alone = present.sum(1, keepdim=True) <= 1
    confidence = torch.where(alone, plain, confidence)
    confidence = confidence / confidence.sum(1, keepdim=True).clamp_min(_TINY)
    return torch.where((labels >= 0)[:, None], confidence, plain)


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
        """For the outputs of a task's teachers; `given` are shares other than those of their weights."""
        each = shares(all_outputs) if given is None else given
        counted = each.sum(1) > 0
        return cls(
            tuple(column(teacher_outputs.values, teacher_outputs.augmented, device) for teacher_outputs in all_outputs),
            tuple(teacher_outputs.spec for teacher_outputs in all_outputs),
            Column.on(device, each.log()),
            counted,
            None if bool(counted.all()) else Column.on(device, counted),
            learned,
        )

    def outputs_of(self, rows: Rows) -> list[Tensor]:
        """Each teacher's raw outputs for these rows; 0 where it has none, where its share is 0 too."""
        return [column.take(rows).nan_to_num() for column in self.outputs]

    def log_shares_of(self, rows: Rows) -> Tensor:
        """Log-shares [K, n] for these rows."""
        log_shares = self.log_shares.take(rows)
        if self.learned is not None:
            log_shares = torch.log_softmax(log_shares + self.learned.scores.detach(), dim=1)
        return log_shares.nan_to_num(neginf=-torch.inf).T

    def masked(self, losses: Tensor, rows: Rows) -> Tensor:
        """`losses` [n], 0 on rows without any teacher."""
        return losses if self.mask is None else torch.where(self.mask.take(rows), losses, 0.0)


class LearnedShares(nn.Module):
    """K scores whose softmax are the shares of the teachers; equal at first."""

    def __init__(self, teachers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(teachers))
