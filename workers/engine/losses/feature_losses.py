"""Terms on layers: the student's against the teacher's, through trained modules where a method has them.

`feature_method` is where a term of the contract gets its formula.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import assert_never

import torch
from torch import Tensor, nn

from app.contracts.resolving.distillation.layer_owners import pooled_shape
from app.contracts.specs.distillation import (
    AttentionTerm,
    CrdTerm,
    FeatureTerm,
    FitnetsTerm,
    HiddenStatesTerm,
    RelationsTerm,
    ReviewTerm,
    RkdTerm,
    SimilarityTerm,
    SimkdTerm,
)
from workers.engine.data.rows.columns import ColumnLike, Rows
from workers.engine.losses.features.attention import attention_transfer
from workers.engine.losses.features.crd import info_nce
from workers.engine.losses.features.fitnets import hint, unit_hint
from workers.engine.losses.features.projectors import draw, projector
from workers.engine.losses.features.review import ResidualFusion, hierarchical_context
from workers.engine.losses.features.rkd import rkd
from workers.engine.losses.features.shapes import flat
from workers.engine.losses.features.similarity import similarity
from workers.engine.losses.features.transformers import hidden_states, relations
from workers.engine.losses.softmax import widened
from workers.engine.losses.teacher_mix import AugmentedOutputs, column
from workers.engine.losses.term import TermInputs
from workers.engine.models.taps import TappedLayer, compared_layer

Shape = tuple[int, ...]
Layers = tuple[Tensor, ...]


@dataclass(frozen=True)
class FeatureMethod:
    """(student's layers, teacher's layers, tokens) -> losses [n], or their mean where the term is `relational`.

    Both sides have as many layers, each [n, …]; most methods compare one. `tokens`: bool [n, T], which places of layers
    [n, T, width] count; None for all of them. `module` is what the formula trains with the student.
    """

    formula: Callable[[Layers, Layers, Tensor | None], Tensor]
    module: nn.Module | None = None


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


def feature_method(term: FeatureTerm, students: Sequence[Shape], teachers: Sequence[Shape]) -> FeatureMethod:
    """The method of a term, for layers of these shapes (of one row). What it trains still has torch's own weights."""
    match term:
        case FitnetsTerm():
            return _projected(unit_hint if term.normalize else hint, students[0], teachers[0])
        case HiddenStatesTerm():
            return _projected(hidden_states, students[0], teachers[0])
        case SimkdTerm():
            return _of_one(hint)
        case CrdTerm():
            space = Embeddings(students[0], teachers[0], term.dimensions)
            formula = partial(info_nce, temperature=term.temperature)
            return _of_one(lambda ours, theirs: formula(space.of_student(ours), space.of_teacher(theirs)), space)
        case AttentionTerm():
            return _of_one(attention_transfer)
        case RelationsTerm():
            return _of_tokens(lambda ours, theirs, tokens: relations(ours, theirs, term.heads, tokens))
        case RkdTerm():
            return _of_one(partial(rkd, distance=term.distance, angle=term.angle))
        case SimilarityTerm():
            return _of_one(similarity)
        case ReviewTerm():
            fusion = ResidualFusion(students, teachers)
            return FeatureMethod(lambda ours, theirs, _: hierarchical_context(fusion(ours), theirs), fusion)
        case _:
            assert_never(term)


def _of_one(formula: Callable[[Tensor, Tensor], Tensor], module: nn.Module | None = None) -> FeatureMethod:
    """A formula on one layer of either side."""
    return FeatureMethod(lambda ours, theirs, _: formula(ours[0], theirs[0]), module)


def _of_tokens(formula: Callable[[Tensor, Tensor, Tensor | None], Tensor]) -> FeatureMethod:
    """A formula on one layer of either side, in which padding of texts does not count."""
    return FeatureMethod(lambda ours, theirs, tokens: formula(ours[0], theirs[0], tokens))


def _projected(
    formula: Callable[[Tensor, Tensor, Tensor | None], Tensor], student: Shape, teacher: Shape
) -> FeatureMethod:
    """A formula on the student's layer at the teacher's width."""
    module = projector(student, teacher)
    return FeatureMethod(lambda ours, theirs, tokens: formula(module(ours[0]), theirs[0], tokens), module)


@dataclass(frozen=True)
class TeacherLayer:
    """A layer of a teacher: the shape of one row, and `values` [N, numbers], flat; `augmented` for augmented rows."""

    shape: Shape
    values: Tensor
    augmented: AugmentedOutputs | None = None


@dataclass(frozen=True)
class FeatureTargets:
    """Layers of the student and as many of a teacher. `counted`: every row, as a network has outputs for all."""

    name: str
    weight: float
    counted: Tensor
    relational: bool
    layers: tuple[TappedLayer, ...]
    teachers: tuple[ColumnLike, ...]
    shapes: tuple[Shape, ...]
    method: FeatureMethod

    @classmethod
    def of(
        cls,
        term: FeatureTerm,
        name: str,
        students: Mapping[str, Shape],
        teachers: Sequence[TeacherLayer],
        seed: int,
        device: torch.device,
    ) -> "FeatureTargets":
        """`students` are the shapes of the student's layers, `teachers` the teacher's layers that the term names, in
        its order, pooled as it says; projectors are drawn from (seed, name).
        """
        layers = tuple(TappedLayer(pair.student_layer, pair.pool) for pair in term.pairs.values())
        shapes = tuple(layer.shape for layer in teachers)
        ours = [students[layer.name] if layer.pool is None else pooled_shape(students[layer.name]) for layer in layers]
        method = feature_method(term, ours, shapes)
        if method.module is not None:
            draw(method.module, seed, f"projector/{name}")
            method.module.to(device)
        return cls(
            name=name,
            weight=term.weight,
            counted=torch.ones(len(teachers[0].values), dtype=torch.bool),
            relational=term.relational,
            layers=layers,
            teachers=tuple(column(layer.values, layer.augmented, device) for layer in teachers),
            shapes=shapes,
            method=method,
        )

    @property
    def taps(self) -> tuple[str, ...]:
        """The student's layers that it compares."""
        return tuple(layer.name for layer in self.layers)

    @property
    def module(self) -> nn.Module | None:
        """What is trained with the student and not exported."""
        return self.method.module

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """Additive: [n], 0 where not counted. Relational: the mean over the counted rows, a scalar."""
        students = tuple(
            compared_layer(widened(inputs.taps[layer.name]), layer.pool, inputs.tokens) for layer in self.layers
        )
        teachers = tuple(
            widened(layer.take(rows)).reshape(len(rows), *shape)
            for layer, shape in zip(self.teachers, self.shapes, strict=True)
        )
        return self.method.formula(students, teachers, inputs.tokens if students[0].dim() == 3 else None)
