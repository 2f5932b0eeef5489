"""Soft targets of classes and labels: soften the teachers' outputs, average them, compare by the method of the term.

`class_formula` and `label_formula` are where a term of the contract gets its formula.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import torch
from torch import Tensor, nn

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput
from app.contracts.specs.distillation import (
    DistTerm,
    DkdTerm,
    JsdTerm,
    KdTerm,
    LogitMseTerm,
    LogitTerm,
    ReverseKlTerm,
)
from workers.engine.data.columns import Column, Rows
from workers.engine.losses.logits.dist import dist
from workers.engine.losses.logits.dkd import dkd
from workers.engine.losses.logits.jsd import jsd
from workers.engine.losses.logits.kd import class_kd, mixture, multilabel_kd
from workers.engine.losses.logits.logit_mse import logit_mse
from workers.engine.losses.logits.multilabel import multilabel_jsd, multilabel_mse, multilabel_reverse_kl
from workers.engine.losses.logits.reverse_kl import reverse_kl
from workers.engine.losses.logits.standardize import standardized
from workers.engine.losses.softmax import (
    bernoulli_log_probabilities,
    class_scores,
    label_log_odds,
    softened,
    widened,
)
from workers.engine.losses.teacher_mix import TeacherEnsemble
from workers.engine.losses.temperature import TemperatureSchedule, make_temperature
from workers.engine.losses.term import TermInputs, weighted

ClassFormula = Callable[..., Tensor]
"""(student's scores [n, C], teachers' softened log-probabilities [n, C], τ) -> losses [n], or their mean where the term
is `relational`. A method that `needs_labels` takes the labels [n] after τ, or None where the task has none.
"""
LabelFormula = Callable[[Tensor, Tensor, Tensor, float | Tensor], Tensor]
"""(student's log-odds [n, L], teachers' softened log p and log(1 − p) [n, L], τ) -> losses [n]."""


def class_formula(term: LogitTerm) -> ClassFormula:
    """The formula of a term for exclusive classes."""
    match term:
        case KdTerm():
            return class_kd
        case DkdTerm():
            return partial(dkd, alpha=term.alpha, beta=term.beta)
        case DistTerm():
            return partial(dist, beta=term.beta, gamma=term.gamma)
        case ReverseKlTerm():
            return reverse_kl
        case JsdTerm():
            return partial(jsd, beta=term.beta)
        case LogitMseTerm():
            return logit_mse
        case _:
            assert_never(term)


def label_formula(term: LogitTerm) -> LabelFormula:
    """The formula of a term for yes-or-no labels. Raises TypeError where its `kinds` leave them out."""
    match term:
        case KdTerm():
            return multilabel_kd
        case ReverseKlTerm():
            return multilabel_reverse_kl
        case JsdTerm():
            return partial(multilabel_jsd, beta=term.beta)
        case LogitMseTerm():
            return multilabel_mse
        case DkdTerm() | DistTerm():
            raise TypeError(f"`{term.method}` is not defined for multilabel outputs")
        case _:
            assert_never(term)


@dataclass(frozen=True)
class ClassSoftTargets:
    """A logit term on exclusive classes. `labels` are None where the method needs none, or the task has none."""

    name: str
    weight: float
    counted: Tensor
    relational: bool
    module: nn.Module | None
    ensemble: TeacherEnsemble
    temperature: TemperatureSchedule
    formula: ClassFormula
    standardize: bool
    needs_labels: bool
    labels: Column | None
    taps: tuple[str, ...] = ()
    row_weights: Column | None = None
    """float32 [N]; None: every row weighs 1, as in a relational term."""

    @classmethod
    def of(
        cls, term: LogitTerm, name: str, ensemble: TeacherEnsemble, labels: Tensor | None, device: torch.device
    ) -> "ClassSoftTargets":
        """`labels` int64 [N], -1 where missing, or None; a method that needs labels counts labelled rows alone."""
        temperature, module = make_temperature(term.temperature)
        needed = labels if term.needs_labels else None
        return cls(
            name=name,
            weight=term.share,
            counted=ensemble.counted if needed is None else ensemble.counted & (needed >= 0),
            relational=term.relational,
            module=module,
            ensemble=ensemble,
            temperature=temperature,
            formula=class_formula(term),
            standardize=term.standardize,
            needs_labels=term.needs_labels,
            labels=None if needed is None else Column.on(device, needed),
        )

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """Additive: [n], 0 where not counted. Relational: the mean over the counted rows, a scalar."""
        outputs = inputs.outputs
        if self.relational and self.ensemble.mask is not None:
            outputs, rows = _only(outputs, rows, self.counted)
        tau = self.temperature(inputs.progress)
        sides = standardized(outputs) if self.standardize else outputs, self._teacher_log_p(rows, tau)
        if self.needs_labels:
            losses = self.formula(*sides, tau, None if self.labels is None else self.labels.take(rows))
        else:
            losses = self.formula(*sides, tau)
        if self.relational:
            return losses
        return weighted(self.ensemble.masked(losses, rows), self.row_weights, inputs, rows)

    def _teacher_log_p(self, rows: Rows, tau: float | Tensor) -> Tensor:
        """The mean of the teachers, each softened first: log-probabilities [n, C]."""
        ensemble = self.ensemble
        pairs = zip(ensemble.outputs_of(rows), ensemble.specs, strict=True)
        scores = [class_scores(outputs, spec) for outputs, spec in pairs if isinstance(spec, ClassOutput)]
        if self.standardize:
            scores = [standardized(each) for each in scores]
        log_p = torch.stack([softened(each, tau) for each in scores])
        return mixture(log_p, ensemble.log_shares_of(rows)) if len(scores) > 1 else log_p[0]


@dataclass(frozen=True)
class LabelSoftTargets:
    """A logit term on yes-or-no labels."""

    name: str
    weight: float
    counted: Tensor
    module: nn.Module | None
    ensemble: TeacherEnsemble
    temperature: TemperatureSchedule
    formula: LabelFormula
    taps: tuple[str, ...] = ()
    relational: bool = False
    row_weights: Column | None = None

    @classmethod
    def of(cls, term: LogitTerm, name: str, ensemble: TeacherEnsemble) -> "LabelSoftTargets":
        """For an ensemble of multilabel teachers. Raises TypeError where the method is not defined for labels."""
        formula = label_formula(term)
        temperature, module = make_temperature(term.temperature)
        return cls(name, term.share, ensemble.counted, module, ensemble, temperature, formula)

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """One loss a row [n], 0 where not counted."""
        ensemble, tau = self.ensemble, self.temperature(inputs.progress)
        sides = [
            bernoulli_log_probabilities(label_log_odds(outputs, spec), tau)
            for outputs, spec in zip(ensemble.outputs_of(rows), ensemble.specs, strict=True)
            if isinstance(spec, MultilabelOutput)
        ]
        log_shares = ensemble.log_shares_of(rows)
        yes, no = (mixture(torch.stack(side), log_shares) for side in zip(*sides, strict=True))
        losses = ensemble.masked(self.formula(widened(inputs.outputs), yes, no, tau), rows)
        return weighted(losses, self.row_weights, inputs, rows)


def _only(outputs: Tensor, rows: Rows, counted: Tensor) -> tuple[Tensor, Rows]:
    """The counted ones of these rows: known on the host, so that no step waits for the device."""
    places = counted[rows.host].nonzero()[:, 0]
    kept = Rows(rows.host[places], rows.device[places.to(rows.device.device)], rows.augmentation)
    return outputs.index_select(0, places.to(outputs.device)), kept
