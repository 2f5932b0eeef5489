"""Reliability diagram: confidence against accuracy, in bins (DeGroot and Fienberg 1983; Guo 2017)."""

import torch
from torch import Tensor

from app.contracts.reports.report import ReliabilityBin
from app.contracts.resources.manifests import OutputSpec
from workers.engine.evaluation.metrics.task_metrics import ECE_BINS
from workers.engine.losses.softmax import log_probabilities

_BELOW_ONE = 1.0 - 2.0**-24


def reliability(outputs: Tensor, spec: OutputSpec, labels: Tensor, bins: int = ECE_BINS) -> tuple[ReliabilityBin, ...]:
    """Raw class outputs [n, C] and labels int64 [n] (-1 is ignored) -> `bins` bins of equal width from 0 to 1.

    A row's bin is that of its highest probability. With n_b rows, accuracy a_b and mean confidence c_b in a bin,
    Σ_b n_b/n · |a_b - c_b| is the `ece` of `task_metrics`: bins are computed in float32 as there, and a confidence of 1
    belongs to the last bin. Accuracy and confidence of an empty bin are None.
    """
    labelled = labels >= 0
    log_p = log_probabilities(outputs[labelled].double().cpu(), spec)
    highest, predicted = log_p.max(dim=1)
    confidence = highest.exp().clamp(max=_BELOW_ONE).float()
    edges = torch.linspace(0.0, 1.0, bins + 1)
    bin_index = torch.bucketize(confidence, edges, right=True) - 1
    count = torch.bincount(bin_index, minlength=bins)
    correct = torch.bincount(bin_index, (predicted == labels[labelled].cpu()).double(), minlength=bins)
    total_confidence = torch.bincount(bin_index, confidence.double(), minlength=bins)
    return tuple(
        ReliabilityBin(
            low=b / bins,
            high=(b + 1) / bins,
            confidence=float(total_confidence[b] / count[b]) if count[b] else None,
            accuracy=float(correct[b] / count[b]) if count[b] else None,
            count=int(count[b]),
        )
        for b in range(bins)
    )
