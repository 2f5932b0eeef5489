"""Terms on a student's outputs and its teachers' outputs: soften, average, compare by the named method."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput
from app.contracts.specs.distillation import (
    DistTerm,
    DkdTerm,
    JsdTerm,
    KdTerm,
    LogitMseTerm,
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
from workers.engine.losses.temperature import At, temperature
from workers.engine.losses.term import TermInputs

LogitTerm = KdTerm | DkdTerm | DistTerm | ReverseKlTerm | JsdTerm | LogitMseTerm
Degrees = float | Tensor
ClassMethod = Callable[[Tensor, Tensor, Degrees, Tensor | None], Tensor]
"""(student's scores [n, C], teachers' softened log-probabilities [n, C], τ, labels [n] or None) -> losses."""
LabelMethod = Callable[[Tensor, Tensor, Tensor, Degrees], Tensor]
"""(student's log-odds [n, L], teachers' log p and log (1 − p) [n, L], τ) -> losses [n]."""


def class_method(term: LogitTerm) -> ClassMethod:
    """The comparison that a term names, for exclusive classes."""
    if isinstance(term, DkdTerm):
        return lambda s, t, tau, y: dkd(s, t, tau, y if y is not None else t.argmax(1), term.alpha, term.beta)
    if isinstance(term, DistTerm):
        return lambda s, t, tau, y: dist(s, t, tau, term.beta, term.gamma)
    if isinstance(term, ReverseKlTerm):
        return lambda s, t, tau, y: reverse_kl(s, t, tau)
    if isinstance(term, JsdTerm):
        return lambda s, t, tau, y: jsd(s, t, tau, term.beta)
    if isinstance(term, LogitMseTerm):
        return lambda s, t, tau, y: logit_mse(s, t)
    return lambda s, t, tau, y: class_kd(s, t, tau)


def label_method(term: LogitTerm) -> LabelMethod:
    """The comparison that a term names, for yes-or-no labels. Raises TypeError where it is not defined for them."""
    if isinstance(term, ReverseKlTerm):
        return multilabel_reverse_kl
    if isinstance(term, JsdTerm):
        return lambda s, p, q, tau: multilabel_jsd(s, p, q, tau, term.beta)
    if isinstance(term, LogitMseTerm):
        return lambda s, p, q, tau: multilabel_mse(s, p - q)
    if isinstance(term, KdTerm):
        return multilabel_kd
    raise TypeError(f"`{term.method}` is not defined for multilabel outputs")


@dataclass(frozen=True)
class ClassSoftTargets:
    """A logit term on exclusive classes. `labels` is there where the method looks at them."""

    name: str
    weight: float
    counted: Tensor
    relational: bool
    module: nn.Module | None
    ensemble: TeacherEnsemble
    at: At
    method: ClassMethod
    standardize: bool
    labels: Column | None
    taps: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, term: LogitTerm, name: str, ensemble: TeacherEnsemble, labels: Tensor | None, device: torch.device
    ) -> "ClassSoftTargets":
        """`labels` int64 [N] (-1 is missing) or None; dkd counts labelled rows only, where there are labels."""
        at, module = temperature(1.0 if isinstance(term, LogitMseTerm) else term.temperature)
        sees_labels = isinstance(term, DkdTerm) and labels is not None
        counted = ensemble.counted & (labels >= 0) if sees_labels and labels is not None else ensemble.counted
        return cls(
            name=name,
            weight=term.share,
            counted=counted,
            relational=isinstance(term, DistTerm),
            module=module,
            ensemble=ensemble,
            at=at,
            method=class_method(term),
            standardize=term.standardize,
            labels=Column.on(device, labels) if sees_labels and labels is not None else None,
        )

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """Additive: [n], 0 where not counted. Relational: the mean over the counted rows, a scalar."""
        outputs = inputs.outputs
        if self.relational and self.ensemble.mask is not None:
            outputs, rows = _only(outputs, rows, self.counted)
        tau = self.at(inputs.progress)
        taught = self._taught(rows, tau)
        labels = self.labels.take(rows) if self.labels is not None else None
        scores = standardized(outputs) if self.standardize else outputs
        losses = self.method(scores, taught, tau, labels)
        return losses if self.relational else self.ensemble.masked(losses, rows)

    def _taught(self, rows: Rows, tau: Degrees) -> Tensor:
        """The teachers' mean, softened first: log-probabilities [n, C]."""
        ensemble = self.ensemble
        pairs = zip(ensemble.said(rows), ensemble.specs, strict=True)
        scores = [class_scores(said, spec) for said, spec in pairs if isinstance(spec, ClassOutput)]
        if self.standardize:
            scores = [standardized(each) for each in scores]
        log_p = torch.stack([softened(each, tau) for each in scores])
        return mixture(log_p, ensemble.weighed(rows)) if len(scores) > 1 else log_p[0]


@dataclass(frozen=True)
class LabelSoftTargets:
    """A logit term on yes-or-no labels."""

    name: str
    weight: float
    counted: Tensor
    module: nn.Module | None
    ensemble: TeacherEnsemble
    at: At
    method: LabelMethod
    taps: tuple[str, ...] = ()
    relational: bool = False

    @classmethod
    def of(cls, term: LogitTerm, name: str, ensemble: TeacherEnsemble) -> "LabelSoftTargets":
        """For a ensemble of multilabel teachers."""
        at, module = temperature(1.0 if isinstance(term, LogitMseTerm | DistTerm) else term.temperature)
        return cls(name, term.share, ensemble.counted, module, ensemble, at, label_method(term))

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """Additive: [n], 0 where not counted. Relational: the mean over the counted rows, a scalar."""
        ensemble, tau = self.ensemble, self.at(inputs.progress)
        sides = [
            bernoulli_log_probabilities(label_log_odds(said, spec), tau)
            for said, spec in zip(ensemble.said(rows), ensemble.specs, strict=True)
            if isinstance(spec, MultilabelOutput)
        ]
        shares = ensemble.weighed(rows)
        yes, no = (mixture(torch.stack(side), shares) for side in zip(*sides, strict=True))
        return ensemble.masked(self.method(widened(inputs.outputs), yes, no, tau), rows)


def _only(outputs: Tensor, rows: Rows, counted: Tensor) -> tuple[Tensor, Rows]:
    """The counted ones of these rows: known on the host, so that no step waits for the device."""
    places = counted[rows.host].nonzero()[:, 0]
    kept = Rows(rows.host[places], rows.device[places.to(rows.device.device)], rows.augmentation)
    return outputs.index_select(0, places.to(outputs.device)), kept
