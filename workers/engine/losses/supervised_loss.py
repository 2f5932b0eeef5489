"""The term on labels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from app.contracts.resources.manifests import (
    ClassOutput,
    MapOutput,
    MultilabelOutput,
    OutputSpec,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)
from app.contracts.specs.supervision.label_losses import (
    CrossEntropyLoss,
    FocalLoss,
    HuberLabelLoss,
    LabelLoss,
    SquaredLoss,
)
from workers.engine.data.augment.labels import label_column
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.rows.columns import Column, ColumnLike, Rows
from workers.engine.losses.label_losses import class_loss, huber_loss, multilabel_loss, position_loss, squared_loss
from workers.engine.losses.target_scaling import standardised
from workers.engine.losses.term import TermInputs


@dataclass(frozen=True)
class SupervisedLoss:
    """The loss on labels: (focal) cross-entropy of classes or labels, squared or Huber's in standardised units.

    Class weights and row weights each have the mean 1 over the training rows, and the loss is the mean over rows.
    torch's weighted mean divides by the sum of the weights in the batch instead: a batch of one class would have no
    weights at all, and micro-batches would need that sum. On the whole training split as one batch the two are equal.
    """

    weight: float
    counted: Tensor
    labels: ColumnLike
    loss: Callable[[Tensor, Tensor], Tensor]
    row_weights: Column | None = None
    """float32 [N], with the mean 1 over the labelled training rows; None: every row weighs 1."""
    name: str = "supervised"
    relational: bool = False
    taps: tuple[str, ...] = ()
    module: nn.Module | None = None

    @classmethod
    def of(
        cls,
        target: TargetColumn,
        spec: OutputSpec,
        weight: float,
        smoothing: float,
        device: torch.device,
        label_loss: LabelLoss | None = None,
        class_weights: Tensor | None = None,
        row_weights: Column | None = None,
    ) -> "SupervisedLoss":
        """For a target; `spec` is that of the student's output, whose mean and std standardise values.

        `class_weights` are [C], or [2, L] for absent and present labels; `label_loss` None: the default of the kind.
        """
        values, counted = target.values, target.labelled
        loss: Callable[[Tensor, Tensor], Tensor]
        match spec:
            case ClassOutput():
                loss = partial(class_loss, smoothing=smoothing, **_of_classes(label_loss, class_weights, device))
            case TokenClassOutput() | MapOutput():
                loss = partial(position_loss, smoothing=smoothing, **_of_classes(label_loss, class_weights, device))
                counted = (values >= 0).sum(1)
            case MultilabelOutput():
                loss = partial(multilabel_loss, **_of_classes(label_loss, class_weights, device))
            case ValueOutput() | VectorOutput():
                loss, values = _of_numbers(label_loss), standardised(values.reshape(len(values), -1), spec)
            case _:
                assert_never(spec)
        return cls(weight, counted, label_column(values, target.shape, device), loss, row_weights)

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """One loss a row [n], 0 where not counted."""
        own = self._losses(inputs, rows)
        if rows.augmentation is None or rows.augmentation.partner is None or rows.augmentation.share is None:
            return own
        others = self._losses(inputs, rows.augmentation.partner)
        return rows.augmentation.share * own + (1.0 - rows.augmentation.share) * others

    def _losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """The outputs against the labels of `rows`, which of a mixed row are two."""
        losses = self.loss(inputs.outputs, self.labels.take(rows))
        if self.row_weights is None or not inputs.weighted:
            return losses
        return losses * self.row_weights.take(rows)


def _of_classes(loss: LabelLoss | None, weights: Tensor | None, device: torch.device) -> dict[str, Any]:
    """The settings of the loss of class and multilabel tasks. Raises TypeError for a loss on numbers."""
    match loss:
        case None | CrossEntropyLoss():
            gamma = 0.0
        case FocalLoss():
            gamma = loss.gamma
        case SquaredLoss() | HuberLabelLoss():
            raise TypeError(f"`{loss.name}` is a loss on numbers")
        case _:
            assert_never(loss)
    return {"weights": None if weights is None else weights.to(device), "gamma": gamma}


def _of_numbers(loss: LabelLoss | None) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of values and vectors. Raises TypeError for a loss on classes."""
    match loss:
        case None | SquaredLoss():
            return squared_loss
        case HuberLabelLoss():
            return partial(huber_loss, delta=loss.delta)
        case CrossEntropyLoss() | FocalLoss():
            raise TypeError(f"`{loss.name}` is a loss on classes")
        case _:
            assert_never(loss)
