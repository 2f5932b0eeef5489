"""The term on labels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import torch
from torch import Tensor, nn

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput, VectorOutput
from workers.engine.data.columns import Column, Rows
from workers.engine.data.dataset import TargetColumn
from workers.engine.losses.label_losses import class_loss, multilabel_loss, squared_loss
from workers.engine.losses.target_scaling import standardised
from workers.engine.losses.term import TermInputs


@dataclass(frozen=True)
class SupervisedLoss:
    """The loss on labels: cross-entropy, binary cross-entropy, or squared error in standardised units."""

    weight: float
    counted: Tensor
    labels: Column
    loss: Callable[[Tensor, Tensor], Tensor]
    name: str = "supervised"
    relational: bool = False
    taps: tuple[str, ...] = ()
    module: nn.Module | None = None

    @classmethod
    def of(
        cls, target: TargetColumn, spec: OutputSpec, weight: float, smoothing: float, device: torch.device
    ) -> "SupervisedLoss":
        """For a target; `spec` is that of the student's output, whose mean and std standardise values."""
        values = target.values
        loss: Callable[[Tensor, Tensor], Tensor]
        match spec:
            case ClassOutput():
                loss = partial(class_loss, smoothing=smoothing)
            case MultilabelOutput():
                loss = multilabel_loss
            case ValueOutput() | VectorOutput():
                loss, values = squared_loss, standardised(values.reshape(len(values), -1), spec)
            case _:
                assert_never(spec)
        return cls(weight, target.labelled, Column.on(device, values), loss)

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """One loss a row [n], 0 where not counted."""
        own = self.loss(inputs.outputs, self.labels.take(rows))
        if rows.augmentation is None or rows.augmentation.partner is None or rows.augmentation.share is None:
            return own
        others = self.loss(inputs.outputs, self.labels.take(rows.augmentation.partner))
        return rows.augmentation.share * own + (1.0 - rows.augmentation.share) * others
