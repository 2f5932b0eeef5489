"""A term: one loss of one task, in the form that the loop uses.

A term declares the rows for which it is defined (`counted`), a term on tokens or pixels how many of each row. An
additive term gives one loss per row, 0 elsewhere: the loop divides the sum by the number of counted rows, tokens or
pixels of the whole batch, so that micro-batches add up. A relational term compares the rows of a batch with each other
and gives their mean: it must see the whole batch at once. Targets are gathered by row; a term has no state. What a term
trains beside the student is its `module`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from workers.engine.data.rows.columns import ColumnLike, Rows


@dataclass(frozen=True)
class TermInputs:
    """A learner's outputs for some rows: those of its head [n, size] and the layers that terms use.

    `progress` is the share of the steps done; `peers` are the outputs of the other learners for the same task and rows.
    `tokens`: which places of the rows are tokens, bool [n, T], where layers of a network of texts are used.
    `weighted`: whether row weights count, as in training; the validation loss is without them.
    """

    outputs: Tensor
    taps: Mapping[str, Tensor] = field(default_factory=dict)
    progress: float = 0.0
    peers: tuple[Tensor, ...] = ()
    weighted: bool = True
    tokens: Tensor | None = None


class Term(Protocol):
    """One weighted loss of a task."""

    @property
    def name(self) -> str:
        """As it appears in metric series."""
        ...

    @property
    def weight(self) -> float:
        """What the term's mean over rows is multiplied by."""
        ...

    @property
    def counted(self) -> Tensor:
        """Bool [N] on the host: the dataset rows on which the term is defined; of a term on tokens or pixels int64 [N],
        how many of each row it sums over.
        """
        ...

    @property
    def relational(self) -> bool:
        """Whether the rows of a batch are compared with each other."""
        ...

    @property
    def taps(self) -> tuple[str, ...]:
        """The student's layers that the term uses."""
        ...

    @property
    def module(self) -> nn.Module | None:
        """What is trained, clipped and checkpointed with the student, and not exported."""
        ...

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """Additive: one loss a row [n], 0 where not counted. Relational: the mean over the counted rows, a scalar."""
        ...


def weighted(losses: Tensor, weights: ColumnLike | None, inputs: TermInputs, rows: Rows) -> Tensor:
    """Losses [n], each multiplied by the weight of its row; a mixed row has the mean of its two rows' weights by their
    shares.
    """
    if weights is None or not inputs.weighted:
        return losses
    own, mixed = weights.take(rows), rows.augmentation
    if mixed is not None and mixed.partner is not None and mixed.share is not None:
        own = mixed.share * own + (1.0 - mixed.share) * weights.take(mixed.partner)
    return losses * own
