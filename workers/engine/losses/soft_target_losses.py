"""Soft targets of classes and labels: soften the teachers' outputs, average them, compare by the method of the term.

`class_formula` and `label_formula` are where a term of the contract gets its formula.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, assert_never

import torch
from torch import Tensor, nn

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec
from app.contracts.specs.distillation import (
    DistTerm,
    DkdTerm,
    JsdTerm,
    KdTerm,
    LogitMseTerm,
    LogitTerm,
    OfaTerm,
    ReverseKlTerm,
)
from workers.engine.data.augment.labels import label_column
from workers.engine.data.dataset import PADDING
from workers.engine.data.rows.columns import AugmentedColumn, Column, ColumnLike, Rows
from workers.engine.data.top_k.rows import TopKColumn
from workers.engine.losses.features.exits import Exits
from workers.engine.losses.logits.dist import dist
from workers.engine.losses.logits.dkd import dkd
from workers.engine.losses.logits.jsd import jsd
from workers.engine.losses.logits.kd import class_kd, mixture, multilabel_kd
from workers.engine.losses.logits.logit_mse import logit_mse
from workers.engine.losses.logits.multilabel import multilabel_jsd, multilabel_mse, multilabel_reverse_kl
from workers.engine.losses.logits.ofa import ofa
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
is `relational`. A method that `needs_labels` takes the labels [n] after τ, or None where the task has none. One that
`takes_drawn_classes` may be given `weights` [n, C].
"""
LabelFormula = Callable[[Tensor, Tensor, Tensor, float | Tensor], Tensor]
"""(student's log-odds [n, L], teachers' softened log p and log(1 − p) [n, L], τ) -> losses [n]."""

_MOST_SOFTENED_BYTES: Final = 1 << 28


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
        case OfaTerm():
            return partial(ofa, gamma=term.gamma)
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
        case DkdTerm() | DistTerm() | OfaTerm():
            raise TypeError(f"`{term.method}` is not defined for multilabel outputs")
        case _:
            assert_never(term)


def exits_of(term: LogitTerm, shapes: Mapping[str, tuple[int, ...]], classes: int) -> Exits | None:
    """The branches by which a term predicts classes from layers of the student, which have these shapes (of one row).
    They still have torch's own weights.
    """
    match term:
        case OfaTerm():
            return Exits({layer: shapes[layer] for layer in term.student_layers}, term.width, classes)
        case KdTerm() | DkdTerm() | DistTerm() | ReverseKlTerm() | JsdTerm() | LogitMseTerm():
            return None
        case _:
            assert_never(term)


@dataclass(frozen=True)
class ClassSoftTargets:
    """A logit term on exclusive classes. `labels` are None where the method needs none, or the task has none.

    `exits` predict from layers of the student beside its own output; the term is the sum over all predictions.
    """

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
    drawn: bool = False
    taps: tuple[str, ...] = ()
    exits: Exits | None = None
    row_weights: Column | None = None
    """float32 [N]; None: every row weighs 1, as in a relational term."""
    softened: tuple["Softened | None", ...] = ()
    """The log-probabilities of each teacher on all rows, which no step needs to compute again; None where they are not
    the same in every step, or take much memory. Empty until `softened_once`.
    """

    @classmethod
    def of(
        cls,
        term: LogitTerm,
        name: str,
        ensemble: TeacherEnsemble,
        labels: Tensor | None,
        device: torch.device,
        exits: Exits | None = None,
    ) -> "ClassSoftTargets":
        """`labels` int64 [N], -1 where missing, or None; a method that needs labels counts labelled rows alone, unless
        it says otherwise. `exits` are those of the term, on the device.
        """
        temperature, module = make_temperature(term.temperature)
        assert exits is None or module is None, "no method has both branches and a learned temperature"
        needed = labels if term.needs_labels else None
        counted = ensemble.counted
        if needed is not None and not term.counts_unlabelled:
            counted = counted & (needed >= 0)
        return cls(
            name=name,
            weight=term.share,
            counted=counted,
            relational=term.relational,
            module=module if exits is None else exits,
            ensemble=ensemble,
            temperature=temperature,
            formula=class_formula(term),
            standardize=term.standardize,
            needs_labels=term.needs_labels,
            labels=None if needed is None else Column.on(device, needed),
            drawn=term.takes_drawn_classes,
            taps=() if exits is None else exits.layers,
            exits=exits,
        )

    def softened_once(self) -> "ClassSoftTargets":
        """The same for a run that begins, with the teachers' outputs softened for all rows. It is as large as they are:
        a search has as many terms as candidates, of which one trains.
        """
        pairs = zip(self.ensemble.outputs, self.ensemble.specs, strict=True)
        return replace(self, softened=tuple(self._softened_once(*each) for each in pairs))

    def _softened_once(self, column: ColumnLike, spec: OutputSpec) -> "Softened | None":
        """A teacher's log-probabilities on all rows, each with the bits of `_softened`."""
        tau = self.temperature(0.0)
        if not isinstance(tau, int | float) or tau != self.temperature(1.0) or self.standardize:
            return None
        if not isinstance(column, Column) or column.values.device.type != column.device.type:
            return None
        if column.values.nbytes > _MOST_SOFTENED_BYTES:
            return None
        assert isinstance(spec, ClassOutput)
        return Softened(tau, Column(softened(class_scores(column.values.nan_to_num(), spec), tau), column.device))

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """Additive: [n], 0 where not counted. Relational: the mean over the counted rows, a scalar."""
        outputs = [inputs.outputs, *(() if self.exits is None else self.exits(inputs.taps))]
        if self.relational and self.ensemble.mask is not None:
            outputs, rows = _only(outputs, rows, self.counted)
        tau = self.temperature(inputs.progress)
        teacher_log_p, weights = self._teacher(rows, tau)
        formula = self._formula(rows, weights)
        if self.standardize:
            outputs = [standardized(each) for each in outputs]
        losses = formula(outputs[0], teacher_log_p, tau)
        for each in outputs[1:]:
            losses = losses + formula(each, teacher_log_p, tau)
        if self.relational:
            return losses
        return weighted(self.ensemble.masked(losses, rows), self.row_weights, inputs, rows)

    def _formula(self, rows: Rows, weights: Tensor | None) -> ClassFormula:
        """The formula for these rows, with their labels or with the weights of drawn classes."""
        if self.needs_labels:
            labels = None if self.labels is None else self.labels.take(rows)
            return lambda student, log_p, tau: self.formula(student, log_p, tau, labels)
        return self.formula if weights is None else partial(self.formula, weights=weights)

    def _teacher(self, rows: Rows, tau: float | Tensor) -> tuple[Tensor, Tensor | None]:
        """The mean of the teachers, each softened first: log-probabilities [n, C], and the weights of drawn classes."""
        ensemble = self.ensemble
        each: list[tuple[Tensor, Tensor | None]] = []
        known = self.softened or [None] * len(ensemble.specs)
        for column, spec, done in zip(ensemble.outputs, ensemble.specs, known, strict=True):
            if done is not None and done.holds(tau):
                each.append((done.column.take(rows), None))
            else:
                each.append(self._softened(column, spec, rows, tau))
        if len(each) == 1:
            return each[0]
        log_shares = ensemble.log_shares_of(rows)
        log_p = mixture(torch.stack([one for one, _ in each]), log_shares)
        if all(weights is None for _, weights in each):
            return log_p, None
        estimates = [one.exp() if weights is None else weights for one, weights in each]
        return log_p, (torch.stack(estimates) * log_shares.exp()[:, :, None]).sum(0)

    def _softened(
        self, column: ColumnLike, spec: OutputSpec, rows: Rows, tau: float | Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """One teacher's log-probabilities [n, C], and weights [n, C] where the method takes drawn classes."""
        assert isinstance(spec, ClassOutput)
        if isinstance(column, AugmentedColumn):
            column, rows = column.resolved(rows)
        if isinstance(column, TopKColumn):
            draws = self.drawn and column.stored.packing.draws > 0
            return column.drawn(rows, tau) if draws else (column.softened(rows, tau), None)
        scores = class_scores(column.take(rows).nan_to_num(), spec)
        return softened(standardized(scores) if self.standardize else scores, tau), None


@dataclass(frozen=True)
class PositionSoftTargets:
    """A logit term on the exclusive classes of each position of a row: of its tokens, of one teacher that reads the
    same, or of the pixels of a map.

    Each position is what a row is to `ClassSoftTargets`; the loss of a row is the sum over its positions. Padding has
    no part in it, nor have positions without a label where the method needs one.
    """

    name: str
    weight: float
    counted: Tensor
    """int64 [N]: positions of each row that the term sums over."""
    module: nn.Module | None
    ensemble: TeacherEnsemble
    spec: ClassOutput
    temperature: TemperatureSchedule
    formula: ClassFormula
    standardize: bool
    needs_labels: bool
    labels: ColumnLike
    """Whole numbers [N, L], below 0 without a label, `PADDING` where there is no position."""
    taps: tuple[str, ...] = ()
    relational: bool = False
    row_weights: Column | None = None

    @classmethod
    def of(
        cls,
        term: LogitTerm,
        name: str,
        ensemble: TeacherEnsemble,
        labels: Tensor,
        spec: ClassOutput,
        shape: tuple[int, int] | None = None,
    ) -> "PositionSoftTargets":
        """`labels` [N, L] as a target has them; `spec`: what the teacher's numbers of one position are; `shape`: that
        of a map.
        """
        temperature, module = make_temperature(term.temperature)
        is_counted = labels >= 0 if term.needs_labels else labels != PADDING
        counted = torch.where(ensemble.counted, is_counted.sum(1), 0)
        return cls(
            name=name,
            weight=term.share,
            counted=counted,
            module=module,
            ensemble=ensemble,
            spec=spec,
            temperature=temperature,
            formula=class_formula(term),
            standardize=term.standardize,
            needs_labels=term.needs_labels,
            labels=label_column(labels, shape, ensemble.log_shares.device),
        )

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """One loss a row [n], the sum over its positions."""
        tau, labels = self.temperature(inputs.progress), self.labels.take(rows)
        (theirs,) = self.ensemble.outputs_of(rows)
        scores, student = class_scores(theirs.flatten(0, 1), self.spec), inputs.outputs.flatten(0, 1)
        if self.standardize:
            scores, student = standardized(scores), standardized(student)
        formula = self.formula
        if self.needs_labels:
            formula = partial(self.formula, labels=labels.clamp_min(-1).long().flatten())
        losses = formula(student, softened(scores, tau), tau).reshape(labels.shape)
        summed = torch.where(labels != PADDING, losses, 0.0).sum(1)
        return self.ensemble.masked(summed, rows)


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


@dataclass(frozen=True)
class Softened:
    """A teacher's log-probabilities on all rows, softened by one temperature."""

    temperature: float
    column: Column

    def holds(self, tau: float | Tensor) -> bool:
        """Whether they are those of this temperature: a search maps a term over several."""
        return isinstance(tau, int | float) and tau == self.temperature


def _only(outputs: Sequence[Tensor], rows: Rows, counted: Tensor) -> tuple[list[Tensor], Rows]:
    """The counted ones of these rows: known on the host, so that no step waits for the device."""
    places = counted[rows.host].nonzero()[:, 0]
    kept = Rows(rows.host[places], rows.device[places.to(rows.device.device)], rows.augmentation)
    return [each.index_select(0, places.to(each.device)) for each in outputs], kept
