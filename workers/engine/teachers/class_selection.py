"""The classes of a teacher that are the dataset's, in its order: selected where the teacher's outputs are read.

The store holds all of a teacher's classes, so that other jobs can share its entries.
"""

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, ExclusiveOutput, MapOutput, OutputSpec, TokenClassOutput
from app.contracts.specs.jobs import TeacherRef
from workers.engine.losses.softmax import class_scores


@dataclass(frozen=True)
class ClassSelection:
    """`columns` int64 [C]: for each class of the dataset the teacher's column; `spec` is that of all columns."""

    columns: Tensor
    spec: ExclusiveOutput

    @classmethod
    def of(cls, ref: TeacherRef, spec: OutputSpec) -> "ClassSelection | None":
        """The selection of a resolved reference; None where it selects nothing."""
        return cls.of_columns(None if ref.classes is None else tuple(int(column) for column in ref.classes), spec)

    @classmethod
    def of_columns(cls, columns: tuple[int, ...] | None, spec: OutputSpec) -> "ClassSelection | None":
        """The selection of these columns; None where it selects nothing."""
        if columns is None:
            return None
        assert isinstance(spec, ExclusiveOutput), "resolved"
        return cls(torch.tensor(columns, dtype=torch.int64), spec)

    @property
    def selected_spec(self) -> ExclusiveOutput:
        """The spec of the selected columns."""
        names = self.spec.classes
        chosen = None if names is None else tuple(names[column] for column in self.columns.tolist())
        return self.spec.model_copy(update={"classes": chosen})

    def select(self, values: Tensor) -> Tensor:
        """Raw outputs [n, …, all] -> [n, …, C]. (Log-)probabilities are renormalised: p_c / Σ p over the selected.

        The softmax over selected logits or energies is renormalised as it is. Rows of NaN stay so.
        """
        chosen = values.index_select(-1, self.columns.to(values.device))
        match self.spec:
            case ClassOutput():
                return _renormalised(chosen, self.spec)
            case TokenClassOutput() | MapOutput():
                return chosen
            case _:
                assert_never(self.spec)


def _renormalised(chosen: Tensor, spec: ClassOutput) -> Tensor:
    match spec.output:
        case "logits" | "energies":
            return chosen
        case "log_probabilities" | "probabilities":
            log_p = torch.log_softmax(class_scores(chosen, spec), dim=1)
            return log_p if spec.output == "log_probabilities" else log_p.exp()
        case _:
            assert_never(spec.output)
