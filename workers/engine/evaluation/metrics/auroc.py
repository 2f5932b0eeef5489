"""Area under the ROC curve, from ranks."""

import torch
from torch import Tensor


def binary_auroc(scores: Tensor, positive: Tensor) -> float:
    """The share of pairs of a positive and a negative row in which the positive one has the higher score; ties count
    as one half (the Mann-Whitney U statistic, Hanley and McNeil 1982).

    `scores` float64 [n], `positive` bool [n], with rows of both kinds.
    """
    _, place, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    mean_ranks = counts.cumsum(0).double() - (counts.double() - 1.0) / 2.0
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    rank_sum = mean_ranks[place[positive]].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2.0) / (n_positive * n_negative))
