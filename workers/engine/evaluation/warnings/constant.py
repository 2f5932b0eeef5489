"""Is a party better than one that answers every row alike?

| kind | constant answer | no better |
|---|---|---|
| class | the commonest class of the rows | accuracy ≤ p + 2 √(p (1 − p) / n), p its share |
| token_class, map | the commonest class of the places | neither accuracy nor loss better, by two standard errors |
| multilabel | for each label whether most rows have it | neither accuracy nor loss better, by two standard errors |
| value, vector | the mean of the training rows | mean squared error no lower, by two standard errors |

Standard errors of losses are those of the difference of two parties on the same rows. On 412 runs the first fired on
42 % of those on wine that had learned nothing and on no other. Nothing is said of fewer than LEAST_ROWS, nor where the
rows could not show a perfect party to be better.

A class that has more than half of the rows may be the right answer everywhere: a party whose scores still rank the
classes is then left out, as are teachers in `teachers.sanity_check`.
"""

from dataclasses import dataclass
from math import sqrt
from typing import assert_never

import torch
from torch import Tensor

from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics.auroc import binary_auroc
from workers.engine.evaluation.metrics.outputs import PartyOutputs, label_logits
from workers.engine.evaluation.warnings.row_losses import is_above_zero, row_losses
from workers.engine.losses.softmax import log_probabilities

ERRORS = 2.0
LEAST_ROWS = 20
"""As for the warning `small_split`."""


@dataclass(frozen=True)
class Comparison:
    """A figure of a party and of a constant answer on the same rows. `metric`: `accuracy` or `rmse`."""

    metric: str
    party: float
    constant: float
    is_no_better: bool


def compared(party: PartyOutputs, target: TargetColumn, rows: Tensor, train: Tensor) -> Comparison | None:
    """The comparison on the dataset rows `rows` with a label, int64 [n]; `train` are the training rows. None without
    labels, or where so few rows tell nothing.
    """
    known = target.labelled[rows]
    if party.known is not None:
        known = known & party.known
    places = known.nonzero().reshape(-1)
    labels = target.values[rows[places]]
    if len(places) < LEAST_ROWS:
        return None
    party = party.at(places)
    match party.spec.kind:
        case "class":
            return _of_classes(party, labels)
        case "token_class" | "map":
            return _of_positions(party, labels)
        case "multilabel":
            return _of_labels(party, labels)
        case "value" | "vector":
            learned = target.values[train[target.labelled[train]]]
            return _of_numbers(party, labels, learned)
        case _:
            assert_never(party.spec.kind)


def highest_of_chance(share: float, rows: int) -> float:
    """The highest accuracy on n rows that does not show a party to be better than the commonest class of share p."""
    return share + ERRORS * sqrt(share * (1.0 - share) / rows)


def _of_classes(party: PartyOutputs, labels: Tensor) -> Comparison | None:
    n, counts = len(labels), torch.bincount(labels)
    share = int(counts.max()) / n
    limit = highest_of_chance(share, n)
    if limit >= 1.0:
        return None
    log_p = log_probabilities(party.values.double(), party.spec)
    accuracy = float((log_p.argmax(1) == labels).double().mean())
    no_better = accuracy <= limit and not (share > 0.5 and _ranks(log_p, labels, int(counts.argmax())))
    return Comparison("accuracy", accuracy, share, no_better)


def _ranks(log_p: Tensor, labels: Tensor, commonest: int) -> bool:
    """Whether the scores of the commonest class rank it above the others: area under the ROC curve above 1/2 by two
    standard errors, √((n₁ + n₂ + 1) / (12 n₁ n₂)) without knowledge (Mann and Whitney 1947).
    """
    positive = labels == commonest
    first, second = int(positive.sum()), int((~positive).sum())
    error = sqrt((first + second + 1) / (12.0 * first * second))
    return binary_auroc(log_p[:, commonest], positive) > 0.5 + ERRORS * error


def _of_positions(party: PartyOutputs, labels: Tensor) -> Comparison | None:
    known = labels >= 0
    shares = torch.bincount(labels[known], minlength=party.values.shape[2]).double() / int(known.sum())
    right, constant = (party.values.argmax(2) == labels) & known, (labels == int(shares.argmax())) & known
    counts = known.sum(1)
    if not is_above_zero((counts - constant.sum(1)) / counts, ERRORS):
        return None
    surprise = -shares.clamp_min(1e-12).log()[labels.clamp_min(0).long()]
    likelier = (surprise * known).sum(1) / counts - row_losses(party, labels)
    better = is_above_zero((right.sum(1) - constant.sum(1)) / counts, ERRORS) or is_above_zero(likelier, ERRORS)
    total = float(known.sum())
    return Comparison("accuracy", float(right.sum()) / total, float(constant.sum()) / total, not better)


def _of_labels(party: PartyOutputs, labels: Tensor) -> Comparison | None:
    known = ~labels.isnan()
    shares = labels.double().nanmean(0).nan_to_num()
    right = ((label_logits(party.values, party.spec) > 0.0) == (labels > 0.5)) & known
    constant = ((shares > 0.5).expand_as(labels) == (labels > 0.5)) & known
    counts = known.sum(1)
    if not is_above_zero((known.sum(1) - constant.sum(1)) / counts, ERRORS):
        return None
    entropy = -(labels.double() * shares.clamp_min(1e-12).log()).nan_to_num()
    entropy = entropy - ((1.0 - labels.double()) * (1.0 - shares).clamp_min(1e-12).log()).nan_to_num()
    likelier = (entropy * known).sum(1) / counts - row_losses(party, labels)
    better = is_above_zero((right.sum(1) - constant.sum(1)) / counts, ERRORS) or is_above_zero(likelier, ERRORS)
    total = float(known.sum())
    return Comparison("accuracy", float(right.sum()) / total, float(constant.sum()) / total, not better)


def _of_numbers(party: PartyOutputs, labels: Tensor, learned: Tensor) -> Comparison | None:
    if len(learned) == 0:
        return None
    mean = learned.double().reshape(len(learned), -1).mean(0)
    constant = (labels.double().reshape(len(labels), -1) - mean).square().mean(1)
    losses = row_losses(party, labels)
    if not is_above_zero(constant, ERRORS):
        return None
    better = is_above_zero(constant - losses, ERRORS)
    return Comparison("rmse", float(losses.mean()) ** 0.5, float(constant.mean()) ** 0.5, not better)
