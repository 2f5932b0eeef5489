"""The agreement of teachers of values, vectors and labels with the labels of a task.

Values and vectors: R² on the labelled rows, over all numbers together. Below 0 the teacher is worse than the mean of
the labels. On fewer than ENOUGH_ROWS rows it must also be worse by two standard errors.

Labels: the area under the ROC curve of each label that occurs as both 0 and 1 among the rows. Without knowledge it is
1/2 with variance (p + n + 1) / (12 p n) for p and n rows (Mann and Whitney 1947); labels are weighted by the inverse
of it. A teacher within two standard errors of 1/2 is no better than chance, whatever its threshold.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.resources.manifests import MultilabelOutput
from workers.engine.data.dataset import TargetColumn
from workers.engine.losses.softmax import label_log_odds
from workers.engine.losses.target_scaling import own_units
from workers.engine.losses.teacher_mix import TeacherOutputs

MIN_ROWS = 10
"""Fewer labelled rows say nothing about a teacher of numbers."""
ENOUGH_ROWS = 200
DEVIATIONS = 2.0
WEAK = 0.1
"""R² below which a teacher is hardly better than the mean of the labels."""
MOST_RATE_ERROR = 0.2
"""Mean distance of a teacher's mean probabilities from the labels' frequencies that is not mentioned."""
GOOD_FIT = 0.5
"""R² of a linear fit of the teacher's numbers from which on the message names the fit."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """`problem`: why the teacher does not know the labels; `weak`: that it hardly does; `unknown`: why that cannot be
    told. At most one is given.
    """

    problem: str | None = None
    weak: str | None = None
    unknown: str | None = None


def number_agreement(outputs: TeacherOutputs, target: TargetColumn, rows: Tensor) -> Agreement:
    """The agreement of a value or vector teacher on labelled `rows`, int64 [n]."""
    if len(rows) < MIN_ROWS:
        return Agreement(unknown=f"only {len(rows)} training rows have a label, {MIN_ROWS} are needed")
    raw = outputs.at(rows).double()
    labels = target.values[rows].double().reshape(len(rows), -1)
    errors = (own_units(raw, outputs.spec) - labels).square().sum(1)
    spread = (labels - labels.mean(0)).square().sum(1)
    if float(spread.sum()) == 0.0:
        return Agreement(unknown="all labels are the same")
    r2 = 1.0 - float(errors.sum() / spread.sum())
    excess = errors - spread
    sure = float(excess.mean()) > DEVIATIONS * float(excess.std()) / sqrt(len(rows))
    if r2 >= WEAK:
        return Agreement()
    if r2 >= 0.0:
        found = f"has R2 {r2:.3g} on {len(rows)} training labels, hardly better than their mean"
        return Agreement(weak=found + _rescaling(raw, labels))
    if len(rows) < ENOUGH_ROWS and not sure:
        return Agreement(unknown=f"{len(rows)} labelled training rows are too few for its error, R2 {r2:.3g}")
    return Agreement(
        problem=f"has R2 {r2:.3g} on {len(rows)} training labels, expected above 0: it is worse than their mean"
        f"{_rescaling(raw, labels)}"
    )


def _rescaling(raw: Tensor, labels: Tensor) -> str:
    """A hint if the teacher's numbers fit the labels after a linear rescaling of each; else empty."""
    x, y = raw - raw.mean(0), labels - labels.mean(0)
    variance = x.square().sum(0)
    slope = torch.where(variance > 0, (x * y).sum(0) / variance.clamp_min(1e-300), 0.0)
    fit = 1.0 - float((y - slope * x).square().sum() / y.square().sum())
    if fit < GOOD_FIT:
        return ""
    if len(slope) > 1:
        return f" (with each number rescaled R2 is {fit:.3g}: did you forget `mean` and `std` of its output?)"
    scale, offset = float(slope), float(labels.mean() - slope * raw.mean())
    if scale < 0:
        return f" (with its sign reversed, {scale:.4g} · output {offset:+.4g}, R2 is {fit:.3g})"
    return (
        f" (with `mean` {offset:.4g} and `std` {scale:.4g} of its output R2 is {fit:.3g}: did you forget them, or is "
        "the label in other units?)"
    )


def label_agreement(outputs: TeacherOutputs, target: TargetColumn, rows: Tensor) -> Agreement:
    """The agreement of a multilabel teacher on labelled `rows`, int64 [n]."""
    scores, labels = outputs.at(rows).double().numpy(), target.values[rows].numpy()
    total = information = 0.0
    for column in range(target.size):
        known = ~np.isnan(labels[:, column])
        positive = labels[known, column] > 0.5
        p, n = int(positive.sum()), int((~positive).sum())
        if p == 0 or n == 0:
            continue
        weight = 12.0 * p * n / (p + n + 1)
        total += weight * (area_under_curve(scores[known, column], positive) - 0.5)
        information += weight
    if information == 0.0:
        return Agreement(unknown="no label occurs as both 0 and 1 in the training split")
    error = 1.0 / sqrt(information)
    area = 0.5 + total / information
    if 0.5 + DEVIATIONS * error >= 1.0:
        return Agreement(unknown=f"{len(rows)} labelled training rows are too few to tell it from chance")
    if area > 0.5 + DEVIATIONS * error:
        assert isinstance(outputs.spec, MultilabelOutput)
        return Agreement(weak=_other_rates(outputs.at(rows), outputs.spec, labels))
    reversed_ = " (its answers are reversed: is 1 `no` for it?)" if area < 0.5 - 3.0 * error else ""
    return Agreement(
        problem=f"ranks the training labels with an area under the ROC curve of {area:.3g}, expected above "
        f"{0.5 + DEVIATIONS * error:.3g}: no better than each label's commonest answer{reversed_}"
    )


def _other_rates(values: Tensor, spec: MultilabelOutput, labels: Floats) -> str | None:
    """What is said of a teacher that ranks well and whose probabilities are far from how often labels are 1."""
    known = ~np.isnan(labels)
    p = torch.sigmoid(label_log_odds(values.double(), spec)).numpy()
    counts = known.sum(0).clip(1)
    given = np.where(known, p, 0.0).sum(0) / counts
    rates = np.where(known, labels, 0.0).sum(0) / counts
    worst = int(np.abs(given - rates).argmax())
    if float(np.abs(given - rates).mean()) <= MOST_RATE_ERROR:
        return None
    return (
        f"ranks the training labels well, but gives label {worst} a mean probability of {given[worst]:.2g}, where "
        f"{rates[worst]:.2g} of the rows have it (is its `output` declared as what it is?)"
    )


def area_under_curve(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of scores [n] with both labels among `positive`; ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    p = int(positive.sum())
    return float((ranks[positive].sum() - p * (p + 1) / 2.0) / (p * (len(scores) - p)))
