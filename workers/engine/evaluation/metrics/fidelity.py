"""Fidelity: how closely a student matches the mean of its teachers. Needs no labels."""

import math
from typing import assert_never

import torch
from torch import Tensor

from app.contracts.reports.report import Fidelity
from app.contracts.resources.manifests import PositionOutput
from workers.engine.data.dataset import PADDING, TargetColumn
from workers.engine.evaluation.metrics.outputs import PartyOutputs, in_target_units, label_logits
from workers.engine.losses.softmax import bernoulli_log_probabilities, log_probabilities


def fidelity(teacher: PartyOutputs, student: PartyOutputs) -> Fidelity:
    """Agreement and divergence of two parties on the same rows at temperature 1.

    Classes: share of rows with the same top class; mean over rows of KL(teacher ‖ student) in nats. Labels: share of
    equal decisions; mean over rows and labels of the Bernoulli KL. Values and vectors: root mean squared difference in
    the target's units. Rows that the teacher has no output for are left out.
    """
    known = teacher.positions
    teacher, student = teacher.at(known), student.at(known)
    kind, rows = student.spec.kind, len(known)
    if rows == 0:
        return Fidelity(rows=0)
    match kind:
        case "class":
            return _class_fidelity(teacher, student)
        case "multilabel":
            return _label_fidelity(teacher, student)
        case "token_class" | "map":
            raise TypeError("tokens and pixels are compared one by one: `PartyOutputs.of_positions`")
        case "value" | "vector":
            difference = in_target_units(student.values, student.spec) - in_target_units(teacher.values, teacher.spec)
            return Fidelity(rmse=_finite(difference.square().mean().sqrt()), rows=rows)
        case _:
            assert_never(kind)


def task_fidelity(teacher: PartyOutputs, student: PartyOutputs, target: TargetColumn | None, rows: Tensor) -> Fidelity:
    """`fidelity` of the dataset rows `rows` (int64 [n]) of a task; of tokens and pixels those that are no padding, as
    the task's labels say, or all where it has none.
    """
    if not isinstance(student.spec, PositionOutput):
        return fidelity(teacher, student)
    positions = torch.ones(student.values.shape[:2], dtype=torch.bool)
    if target is not None:
        positions = positions_of(target, rows)
    found = fidelity(teacher.of_positions(positions), student.of_positions(positions))
    return found.model_copy(update={"rows": len(rows)})


def positions_of(target: TargetColumn, rows: Tensor) -> Tensor:
    """Which positions of rows are no padding, bool [n, T], of a task on labels of tokens or pixels."""
    return target.values[rows] != PADDING


def _class_fidelity(teacher: PartyOutputs, student: PartyOutputs) -> Fidelity:
    log_p = log_probabilities(teacher.values.double(), teacher.spec)
    log_q = log_probabilities(student.values.double(), student.spec)
    agreement = (log_p.argmax(dim=1) == log_q.argmax(dim=1)).double().mean()
    divergence = _kl_terms(log_p, log_q).sum(dim=1).mean()
    return Fidelity(agreement=float(agreement), kl=_finite(divergence), rows=len(student.values))


def _label_fidelity(teacher: PartyOutputs, student: PartyOutputs) -> Fidelity:
    decisions = [label_logits(party.values, party.spec) > 0.0 for party in (teacher, student)]
    agreement = (decisions[0] == decisions[1]).double().mean()
    kl = _finite(_bernoulli_kl(teacher, student))
    return Fidelity(agreement=float(agreement), kl=kl, rows=len(student.values))


def _kl_terms(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The terms p (log p - log q), elementwise, and 0 where p is 0."""
    p = log_p.exp()
    return torch.where(p > 0.0, p * (log_p - log_q), torch.zeros_like(p))


def _bernoulli_kl(teacher: PartyOutputs, student: PartyOutputs) -> Tensor:
    log_p = bernoulli_log_probabilities(label_logits(teacher.values, teacher.spec))
    log_q = bernoulli_log_probabilities(label_logits(student.values, student.spec))
    return (_kl_terms(log_p[0], log_q[0]) + _kl_terms(log_p[1], log_q[1])).mean()


def _finite(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
