"""Does a network know what it knows? Confidence against accuracy, in bins (DeGroot and Fienberg 1983; Guo 2017)."""

import torch
from torch import Tensor

from app.contracts.reports.report import ReliabilityBin
from app.contracts.resources.manifests import OutputSpec
from workers.engine.evaluation.metrics.task_metrics import ECE_BINS
from workers.engine.losses.softmax import log_probabilities

_BELOW_ONE = 1.0 - 2.0**-24


def reliability(outputs: Tensor, spec: OutputSpec, labels: Tensor, bins: int = ECE_BINS) -> tuple[ReliabilityBin, ...]:
    """Raw class outputs [n, C] and labels int64 [n] (-1 is left out) -> `bins` bins of equal width from 0 to 1.

    A row falls into the bin of its highest probability. With n_b rows, accuracy a_b and mean confidence c_b in a bin,
    Σ_b n_b/n · |a_b - c_b| is the `ece` of `metrics`: bins are found in float32 as there, and a confidence of 1
    belongs to the last bin. An empty bin has neither accuracy nor confidence.
    """
    labelled = labels >= 0
    log_p = log_probabilities(outputs[labelled].double().cpu(), spec)
    highest, predicted = log_p.max(dim=1)
    confidence = highest.exp().clamp(max=_BELOW_ONE).float()
    edges = torch.linspace(0.0, 1.0, bins + 1)
    place = torch.bucketize(confidence, edges, right=True) - 1
    count = torch.bincount(place, minlength=bins)
    right = torch.bincount(place, (predicted == labels[labelled].cpu()).double(), minlength=bins)
    sure = torch.bincount(place, confidence.double(), minlength=bins)
    return tuple(
        ReliabilityBin(
            low=b / bins,
            high=(b + 1) / bins,
            confidence=float(sure[b] / count[b]) if count[b] else None,
            accuracy=float(right[b] / count[b]) if count[b] else None,
            count=int(count[b]),
        )
        for b in range(bins)
    )
