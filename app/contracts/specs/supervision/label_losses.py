"""The loss on labels: its formula, and how much each class counts in it."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from app.contracts.base import ClassName, Contract, Weight, tuples
from app.contracts.specs.distillation import TaskKind


class _LabelLoss(Contract):
    kinds: ClassVar[tuple[TaskKind, ...]]
    """Kinds of task for which it is defined."""


class CrossEntropyLoss(_LabelLoss):
    """Cross-entropy of classes, mean binary cross-entropy of labels: the default of both."""

    kinds = ("class", "token_class", "map", "multilabel")

    name: Literal["cross_entropy"]


class FocalLoss(_LabelLoss):
    """Cross-entropy in which a row that is predicted well counts less: (1 − p)^gamma · −log p (Lin 2017)."""

    kinds = ("class", "token_class", "map", "multilabel")

    name: Literal["focal"]
    gamma: float = Field(
        default=2.0, ge=0.0, le=10.0, description="Exponent of the probability that is missing; 0 is cross-entropy."
    )


class SquaredLoss(_LabelLoss):
    """Squared error in standardised units, the default of values and vectors."""

    kinds = ("value", "vector")

    name: Literal["mse"]


class HuberLabelLoss(_LabelLoss):
    """Half the squared error up to `delta`, and linear beyond (Huber 1964), in standardised units."""

    kinds = ("value", "vector")

    name: Literal["huber"]
    delta: float = Field(
        default=1.0, gt=0.0, le=1e6, description="Error in standard deviations from which the loss is linear."
    )


LabelLossName = Literal["cross_entropy", "focal", "mse", "huber"]
_AnyLabelLoss = CrossEntropyLoss | FocalLoss | SquaredLoss | HuberLabelLoss
_LabelLossUnion = Annotated[_AnyLabelLoss, Field(discriminator="name")]


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else tuples(value)


LabelLoss = Annotated[_LabelLossUnion, BeforeValidator(_named, json_schema_input_type=LabelLossName | _LabelLossUnion)]


_Weights = Annotated[tuple[Weight, ...], Field(min_length=1, max_length=65_536)]
_WeightsByName = Annotated[dict[ClassName, Weight], Field(min_length=1, max_length=65_536)]
ClassWeights = Literal["balanced"] | _Weights | _WeightsByName
"""`balanced`, a weight for each class in its order, or weights by class (its name, or its number as text)."""
