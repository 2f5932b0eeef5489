"""How far predicted maps overlap with their labels: counts by row and class, and the mean intersection over union."""

import torch
from torch import Tensor

_AT_ONCE = 1 << 22
"""Pixels that are counted at a time."""


def overlaps(predicted: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """(intersections, unions) of each row and class, float64 [R, classes] both; of `predicted` classes [R, P] and
    `labels` [R, P], whole numbers below 0 where a pixel has none.

    A pixel of a class that is predicted as it is in the intersection; one that is either is in the union.
    """
    step = max(1, _AT_ONCE // max(1, labels.shape[1]))
    parts = zip(torch.split(predicted, step), torch.split(labels, step), strict=True)
    counted = [_counts(*part, classes) for part in parts]
    hits, unions = (torch.cat(each) for each in zip(*counted, strict=True))
    return hits, unions


def _counts(predicted: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    known = labels >= 0
    first = torch.arange(len(labels))[:, None] * classes
    own, other = (first + labels)[known], (first + predicted)[known]
    size = len(labels) * classes
    hits, of_labels, of_predictions = (
        torch.bincount(each, minlength=size).reshape(-1, classes).double() for each in (own[own == other], own, other)
    )
    return hits, of_labels + of_predictions - hits


def mean_iou(hits: Tensor, unions: Tensor) -> float:
    """The mean over the classes that occur, as label or prediction, of intersection / union over all rows (Everingham
    2015, PASCAL VOC); intersections and unions are [R, classes].
    """
    totals, all_unions = hits.sum(0), unions.sum(0)
    occurring = all_unions > 0
    return float((totals[occurring] / all_unions[occurring]).mean())


def mean_iou_by_row(hits: Tensor, unions: Tensor) -> Tensor:
    """float64 [R] whose mean is `mean_iou`: linearised around it. With i and u of a row and class, and their sums I and
    U over R rows, m + mean over classes of (i − u I / U) / (U / R).
    """
    totals, all_unions = hits.sum(0), unions.sum(0)
    occurring = all_unions > 0
    ratio = totals[occurring] / all_unions[occurring]
    changes = (hits[:, occurring] - ratio * unions[:, occurring]) / (all_unions[occurring] / len(hits))
    return ratio.mean() + changes.mean(1)
