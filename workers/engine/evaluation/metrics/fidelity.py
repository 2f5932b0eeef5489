"""How closely a student follows its teachers' mean. Needs no labels."""

import math

import torch
from torch import Tensor

from app.contracts.reports.report import Fidelity
from workers.engine.evaluation.metrics.outputs import PartyOutputs, in_own_units, label_logits
from workers.engine.losses.softmax import bernoulli_log_probabilities, log_probabilities


def fidelity(teacher: PartyOutputs, student: PartyOutputs) -> Fidelity:
    """Agreement and divergence of two parties on the same rows, at temperature 1.

    Classes: share of rows with the same top class; mean over rows of KL(teacher ‖ student) in nats. Labels: share of
    decisions alike; mean over rows and labels of the Bernoulli KL. Values and vectors: root mean squared difference in
    the target's own units.
    """
    kind, rows = student.spec.kind, len(student.values)
    if rows == 0:
        return Fidelity(rows=0)
    if kind == "class":
        taught = log_probabilities(teacher.values.double(), teacher.spec)
        learnt = log_probabilities(student.values.double(), student.spec)
        agreement = (taught.argmax(dim=1) == learnt.argmax(dim=1)).double().mean()
        divergence = _kl_terms(taught, learnt).sum(dim=1).mean()
        return Fidelity(agreement=float(agreement), kl=_finite(divergence), rows=rows)
    if kind == "multilabel":
        decided = label_logits(teacher.values, teacher.spec) > 0.0
        agreement = (decided == (label_logits(student.values, student.spec) > 0.0)).double().mean()
        return Fidelity(agreement=float(agreement), kl=_finite(_bernoulli_kl(teacher, student)), rows=rows)
    difference = in_own_units(student.values, student.spec) - in_own_units(teacher.values, teacher.spec)
    return Fidelity(rmse=_finite(difference.square().mean().sqrt()), rows=rows)


def _kl_terms(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The terms p (log p - log q), elementwise, and 0 where p is 0."""
    p = log_p.exp()
    return torch.where(p > 0.0, p * (log_p - log_q), torch.zeros_like(p))


def _bernoulli_kl(teacher: PartyOutputs, student: PartyOutputs) -> Tensor:
    taught = bernoulli_log_probabilities(label_logits(teacher.values.double(), teacher.spec))
    learnt = bernoulli_log_probabilities(label_logits(student.values.double(), student.spec))
    return (_kl_terms(taught[0], learnt[0]) + _kl_terms(taught[1], learnt[1])).mean()


def _finite(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
