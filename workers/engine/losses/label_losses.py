"""Losses on labels, one number a row; rows (or labels) that are missing count nothing.

The caller sums them and divides by the number of labelled rows of the whole batch, so that k micro-batches give the
gradient of one.
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from workers.engine.losses.softmax import widened

MISSING = -1


def class_loss(outputs: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with label smoothing (Szegedy et al. 2016); labels int64 [N], -1 gives 0. -> [N]."""
    return cross_entropy(widened(outputs), labels, reduction="none", ignore_index=MISSING, label_smoothing=smoothing)


def multilabel_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over the row's valid labels; labels float [N, L], NaN is missing. -> [N]."""
    valid = ~labels.isnan()
    losses = binary_cross_entropy_with_logits(widened(outputs), torch.where(valid, labels, 0.0), reduction="none")
    return torch.where(valid, losses, 0.0).sum(1) / valid.sum(1).clamp_min(1)


def squared_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Squared error, averaged over the row's numbers; labels float [N, size], a row with NaN gives 0. -> [N]."""
    outputs = widened(outputs)
    valid = ~labels.isnan().any(1)
    difference = outputs - torch.where(valid[:, None], labels, outputs.detach())
    return difference.square().mean(1)
