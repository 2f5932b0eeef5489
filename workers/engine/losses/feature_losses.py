"""Terms on layers: the student's against the teacher's, projected where the method trains a projector."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from app.contracts.specs.distillation import (
    AttentionTerm,
    CrdTerm,
    FeatureTerm,
    FitnetsTerm,
    HiddenStatesTerm,
    RelationsTerm,
    RkdTerm,
    SimkdTerm,
)
from workers.engine.data.columns import ColumnLike, Rows
from workers.engine.losses.features.attention import attention_transfer
from workers.engine.losses.features.crd import info_nce
from workers.engine.losses.features.fitnets import hint, unit_hint
from workers.engine.losses.features.projectors import draw, projector
from workers.engine.losses.features.rkd import rkd_angle, rkd_distance
from workers.engine.losses.features.shapes import flat, matched
from workers.engine.losses.features.similarity import similarity
from workers.engine.losses.features.transformers import hidden_states, relations
from workers.engine.losses.softmax import widened
from workers.engine.losses.teacher_mix import AugmentedOutputs, column
from workers.engine.losses.term import TermInputs

Shape = tuple[int, ...]
Compare = Callable[[Tensor, Tensor], Tensor]
"""(student's layer [n, …], teacher's layer [n, …]) -> losses [n], or their mean where rows are compared."""
RELATIONAL = ("similarity", "rkd", "crd")


class Embeddings(nn.Module):
    """CRD's common space: a linear map of each side."""

    def __init__(self, student: Shape, teacher: Shape, dimensions: int) -> None:
        super().__init__()
        self.student = nn.Linear(prod(student), dimensions)
        self.teacher = nn.Linear(prod(teacher), dimensions)


def _projected(project: nn.Module, loss: Compare) -> Compare:
    def compare(student: Tensor, teacher: Tensor) -> Tensor:
        return loss(*matched(project(student), teacher))

    return compare


def _matched(loss: Compare) -> Compare:
    return lambda student, teacher: loss(*matched(student, teacher))


def _contrast(space: Embeddings, temperature: float) -> Compare:
    def compare(student: Tensor, teacher: Tensor) -> Tensor:
        loss: Tensor = info_nce(space.student(flat(student)), space.teacher(flat(teacher)), temperature)
        return loss

    return compare


def feature_method(term: FeatureTerm, student: Shape, teacher: Shape) -> tuple[Compare, nn.Module | None]:
    """(the comparison that a term names, what it trains), for layers of these shapes (of one row)."""
    if isinstance(term, FitnetsTerm | HiddenStatesTerm):
        project = projector(student, teacher)
        loss = hidden_states if isinstance(term, HiddenStatesTerm) else unit_hint if term.normalize else hint
        return _projected(project, loss), project
    if isinstance(term, SimkdTerm):
        return hint, None
    if isinstance(term, CrdTerm):
        space = Embeddings(student, teacher, term.dimensions)
        return _contrast(space, term.temperature), space
    if isinstance(term, AttentionTerm):
        return _matched(attention_transfer), None
    if isinstance(term, RelationsTerm):
        return lambda s, t: relations(s, t, term.heads), None
    if isinstance(term, RkdTerm):
        return lambda s, t: term.distance * rkd_distance(s, t) + term.angle * rkd_angle(s, t), None
    return similarity, None


@dataclass(frozen=True)
class FeatureTargets:
    """One layer of the student and one of a teacher. `counted`: every row, as a network speaks about all."""

    name: str
    weight: float
    counted: Tensor
    relational: bool
    taps: tuple[str, ...]
    module: nn.Module | None
    teacher: ColumnLike
    shape: Shape
    compare: Compare

    @classmethod
    def of(
        cls,
        term: FeatureTerm,
        name: str,
        student: Shape,
        teacher: Shape,
        values: Tensor,
        augmented: AugmentedOutputs | None,
        seed: int,
        device: torch.device,
    ) -> "FeatureTargets":
        """`values` [N, numbers] are the teacher's layer, flat; projectors are drawn from (seed, name)."""
        compare, module = feature_method(term, student, teacher)
        if module is not None:
            draw(module, seed, f"projector/{name}")
            module.to(device)
        return cls(
            name=name,
            weight=term.weight,
            counted=torch.ones(len(values), dtype=torch.bool),
            relational=term.method in RELATIONAL,
            taps=(term.student_layer,),
            module=module,
            teacher=column(values, augmented, device),
            shape=teacher,
            compare=compare,
        )

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """Additive: [n], 0 where not counted. Relational: the mean over the counted rows, a scalar."""
        teacher = widened(self.teacher.take(rows)).reshape(len(rows), *self.shape)
        return self.compare(widened(inputs.taps[self.taps[0]]), teacher)
