"""Losses on labels, one number a row; rows (or labels) that are missing count nothing.

The caller sums them and divides by the number of labelled rows of the whole batch, so that k micro-batches give the
gradient of one.
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, log_softmax, logsigmoid, one_hot

from workers.engine.losses.regression.huber import number_huber
from workers.engine.losses.softmax import widened

MISSING = -1


def class_loss(
    outputs: Tensor, labels: Tensor, smoothing: float = 0.0, weights: Tensor | None = None, gamma: float = 0.0
) -> Tensor:
    """Cross-entropy with label smoothing (Szegedy et al. 2016); labels int64 [N], -1 gives 0. -> [N].

    With smoothed targets q = (1 − ε) onehot + ε / C, class `weights` w [C] and the focal exponent γ (Lin et al. 2017):

        loss = Σ_c q_c w_c (1 − p_c)^γ (−log p_c)

    At γ = 0 it is torch's `CrossEntropyLoss(weight, label_smoothing)` before its mean; without smoothing it is the
    paper's −α_y (1 − p_y)^γ log p_y with α = w.
    """
    outputs = widened(outputs)
    if gamma > 0.0:
        return _focal_class_loss(outputs, labels, smoothing, weights, gamma)
    return cross_entropy(
        outputs,
        labels,
        None if weights is None else weights.to(outputs.dtype),
        reduction="none",
        ignore_index=MISSING,
        label_smoothing=smoothing,
    )


def _focal_class_loss(
    outputs: Tensor, labels: Tensor, smoothing: float, weights: Tensor | None, gamma: float
) -> Tensor:
    log_p = log_softmax(outputs, dim=1)
    classes = outputs.shape[1]
    targets = one_hot(labels.clamp_min(0), classes).to(log_p.dtype) * (1.0 - smoothing) + smoothing / classes
    if weights is not None:
        targets = targets * weights
    losses = -(targets * _missing(log_p).pow(gamma) * log_p).sum(1)
    return torch.where(labels == MISSING, 0.0, losses)


def _missing(log_p: Tensor) -> Tensor:
    """1 − p of log-probabilities. Not exactly 0, where the gradient of its power is infinite below an exponent of 1."""
    return (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)


def position_loss(
    outputs: Tensor, labels: Tensor, smoothing: float = 0.0, weights: Tensor | None = None, gamma: float = 0.0
) -> Tensor:
    """`class_loss` summed over the labelled positions (tokens, pixels) of each row: outputs [N, L, C], labels [N, L], 0
    below 0. -> [N].

    Divided by the number of labelled positions of the whole batch it is the mean over them, whatever the padding is.
    """
    flat = labels.clamp_min(MISSING).long().flatten()
    losses = class_loss(outputs.flatten(0, 1), flat, smoothing, weights, gamma)
    return losses.reshape(labels.shape).sum(1)


def multilabel_loss(outputs: Tensor, labels: Tensor, weights: Tensor | None = None, gamma: float = 0.0) -> Tensor:
    """Binary cross-entropy, averaged over the row's valid labels; labels float [N, L], NaN is missing. -> [N].

    `weights` [2, L] are those of absent and present labels. With the focal exponent γ (Lin et al. 2017) each label's
    loss −log p_t is multiplied by (1 − p_t)^γ, where p_t is the probability of the truth.
    """
    valid = ~labels.isnan()
    logits, truth = widened(outputs), torch.where(valid, labels, 0.0)
    losses = binary_cross_entropy_with_logits(logits, truth, reduction="none")
    if gamma > 0.0:
        losses = losses * _missing(logsigmoid(torch.where(truth > 0.5, logits, -logits))).pow(gamma)
    if weights is not None:
        losses = losses * torch.where(truth > 0.5, weights[1], weights[0])
    return torch.where(valid, losses, 0.0).sum(1) / valid.sum(1).clamp_min(1)


def squared_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Squared error, averaged over the row's numbers; labels float [N, size], a row with NaN gives 0. -> [N]."""
    outputs = widened(outputs)
    valid = ~labels.isnan().any(1)
    difference = outputs - torch.where(valid[:, None], labels, outputs.detach())
    return difference.square().mean(1)


def huber_loss(outputs: Tensor, labels: Tensor, delta: float) -> Tensor:
    """Huber's loss (1964), averaged over the row's numbers; labels float [N, size], a row with NaN gives 0. -> [N]."""
    valid = ~labels.isnan().any(1)
    return number_huber(outputs, torch.where(valid[:, None], labels, widened(outputs).detach()), delta)
