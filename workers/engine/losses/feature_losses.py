"""Terms on layers: the student's against the teacher's, through trained projections where a method has them.

`feature_method` is where a term of the contract gets its formula.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import assert_never

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
    SimilarityTerm,
    SimkdTerm,
)
from workers.engine.data.columns import ColumnLike, Rows
from workers.engine.losses.features.attention import attention_transfer
from workers.engine.losses.features.crd import info_nce
from workers.engine.losses.features.fitnets import hint, unit_hint
from workers.engine.losses.features.projectors import draw, projector
from workers.engine.losses.features.rkd import rkd
from workers.engine.losses.features.shapes import flat
from workers.engine.losses.features.similarity import similarity
from workers.engine.losses.features.transformers import hidden_states, relations
from workers.engine.losses.softmax import widened
from workers.engine.losses.teacher_mix import AugmentedOutputs, column
from workers.engine.losses.term import TermInputs

Shape = tuple[int, ...]
Projection = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FeatureMethod:
    """(student's layer [n, …], teacher's layer [n, …]) -> losses [n], or their mean where the term is `relational`.

    `module` is trained with the student; the projections are its parts that either side goes through first.
    """

    formula: Callable[[Tensor, Tensor], Tensor]
    module: nn.Module | None = None
    student_projection: Projection | None = None
    teacher_projection: Projection | None = None


class Embeddings(nn.Module):
    """CRD's common space: a linear map of each side."""

    def __init__(self, student: Shape, teacher: Shape, dimensions: int) -> None:
        super().__init__()
        self.student = nn.Linear(prod(student), dimensions)
        self.teacher = nn.Linear(prod(teacher), dimensions)

    def of_student(self, layer: Tensor) -> Tensor:
        """[n, …] -> [n, dimensions]."""
        embedded: Tensor = self.student(flat(layer))
        return embedded

    def of_teacher(self, layer: Tensor) -> Tensor:
        """[n, …] -> [n, dimensions]."""
        embedded: Tensor = self.teacher(flat(layer))
        return embedded


def feature_method(term: FeatureTerm, student: Shape, teacher: Shape) -> FeatureMethod:
    """The method of a term, for layers of these shapes (of one row). What it trains still has torch's own weights."""
    match term:
        case FitnetsTerm():
            return _projected(unit_hint if term.normalize else hint, student, teacher)
        case HiddenStatesTerm():
            return _projected(hidden_states, student, teacher)
        case SimkdTerm():
            return FeatureMethod(hint)
        case CrdTerm():
            space = Embeddings(student, teacher, term.dimensions)
            formula = partial(info_nce, temperature=term.temperature)
            return FeatureMethod(formula, space, space.of_student, space.of_teacher)
        case AttentionTerm():
            return FeatureMethod(attention_transfer)
        case RelationsTerm():
            return FeatureMethod(partial(relations, heads=term.heads))
        case RkdTerm():
            return FeatureMethod(partial(rkd, distance=term.distance, angle=term.angle))
        case SimilarityTerm():
            return FeatureMethod(similarity)
        case _:
            assert_never(term)


def _projected(formula: Callable[[Tensor, Tensor], Tensor], student: Shape, teacher: Shape) -> FeatureMethod:
    """A formula on the student's layer at the teacher's width."""
    module = projector(student, teacher)
    return FeatureMethod(formula, module, student_projection=module)


@dataclass(frozen=True)
class FeatureTargets:
    """One layer of the student and one of a teacher. `counted`: every row, as a network has outputs for all."""

    name: str
    weight: float
    counted: Tensor
    relational: bool
    taps: tuple[str, ...]
    teacher: ColumnLike
    shape: Shape
    method: FeatureMethod

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
        method = feature_method(term, student, teacher)
        if method.module is not None:
            draw(method.module, seed, f"projector/{name}")
            method.module.to(device)
        return cls(
            name=name,
            weight=term.weight,
            counted=torch.ones(len(values), dtype=torch.bool),
            relational=term.relational,
            taps=(term.student_layer,),
            teacher=column(values, augmented, device),
            shape=teacher,
            method=method,
        )

    @property
    def module(self) -> nn.Module | None:
        """What is trained with the student and not exported."""
        return self.method.module

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """Additive: [n], 0 where not counted. Relational: the mean over the counted rows, a scalar."""
        method = self.method
        student = widened(inputs.taps[self.taps[0]])
        teacher = widened(self.teacher.take(rows)).reshape(len(rows), *self.shape)
        if method.student_projection is not None:
            student = method.student_projection(student)
        if method.teacher_projection is not None:
            teacher = method.teacher_projection(teacher)
        return method.formula(student, teacher)
