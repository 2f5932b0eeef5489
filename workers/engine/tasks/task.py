"""A task: an output of the student, its target, and the terms of its loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from app.contracts.resources.manifests import OutputSpec
from workers.engine.balancing import TermSum
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.rows.columns import Rows
from workers.engine.losses.term import Term, TermInputs

WeightSchedule = Callable[[float], float]
"""Progress of training (0 to 1) -> the weight of a term."""


@dataclass(frozen=True)
class Task:
    """`name` is that of the student's output and `spec` its meaning; `target` is None without labels."""

    name: str
    spec: OutputSpec
    target: TargetColumn | None
    weight: float
    terms: tuple[Term, ...]
    weight_schedules: Mapping[str, WeightSchedule] = field(default_factory=dict)
    """Schedules of the terms whose weight changes, by name; other terms have their constant weight."""

    def weights(self, progress: float) -> list[float]:
        """The weight of each term at `progress` (0 to 1)."""
        return [
            self.weight_schedules[term.name](progress) if term.name in self.weight_schedules else term.weight
            for term in self.terms
        ]

    @property
    def counted(self) -> Tensor:
        """Bool [N] on the host: rows on which some term of positive weight is defined."""
        terms = [term for term in self.terms if term.weight > 0.0 or term.name in self.weight_schedules]
        return torch.stack([term.counted for term in terms]).any(0)

    @property
    def relational(self) -> bool:
        """Whether some term needs all rows of a batch at once."""
        return any(term.relational for term in self.terms)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules that the terms train besides the student, by `<task>/<term>`."""
        return {f"{self.name}/{term.name}": term.module for term in self.terms if term.module is not None}

    def loss(self, inputs: TermInputs, rows: Rows, counts: Sequence[int]) -> list[TermSum]:
        """Each term of the loss, with its gradient.

        `inputs` and `rows` are of a micro-batch, `counts` the counted rows of the whole batch for each term: summed
        over micro-batches, the terms are those of the batch. A term without counted rows, or outside its phase, is 0
        and has no gradient.
        """
        terms = []
        for term, count, weight in zip(self.terms, counts, self.weights(inputs.progress), strict=True):
            if count == 0 or (weight == 0.0 and term.name in self.weight_schedules):
                terms.append(TermSum(inputs.outputs.new_zeros((), dtype=torch.float32), weight=0.0))
                continue
            losses = term.losses(inputs, rows)
            terms.append(TermSum(losses, None, weight) if term.relational else TermSum(losses.sum(), count, weight))
        return terms


def learnable_rows(tasks: Sequence[Task], rows: Tensor) -> Tensor:
    """Those of `rows` on which at least one task has a loss."""
    counted = torch.stack([task.counted for task in tasks]).any(0)
    return rows[counted[rows]]
