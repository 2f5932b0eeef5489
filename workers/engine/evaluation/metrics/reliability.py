"""Reliability diagram: confidence against accuracy, in bins (DeGroot and Fienberg 1983; Guo 2017)."""

from torch import Tensor

from app.contracts.reports.report import ReliabilityBin
from app.contracts.resources.manifests import OutputSpec
from workers.engine.evaluation.metrics.calibration import ECE_BINS, confidence_bins
from workers.engine.losses.softmax import log_probabilities


def reliability(outputs: Tensor, spec: OutputSpec, labels: Tensor, bins: int = ECE_BINS) -> tuple[ReliabilityBin, ...]:
    """Raw class outputs [n, C] and labels int64 [n] (-1 is ignored) -> `bins` bins of equal width from 0 to 1.

    A row's bin is that of its highest probability. With n_b rows, accuracy a_b and mean confidence c_b in a bin,
    sum_b n_b/n |a_b - c_b| is the `ece` of `task_metrics`. Accuracy and confidence of an empty bin are None.
    """
    labelled = labels >= 0
    found = confidence_bins(log_probabilities(outputs[labelled].double().cpu(), spec), labels[labelled].cpu(), bins)
    return tuple(
        ReliabilityBin(
            low=b / bins,
            high=(b + 1) / bins,
            confidence=float(found.confidence[b] / found.rows[b]) if found.rows[b] else None,
            accuracy=float(found.right[b] / found.rows[b]) if found.rows[b] else None,
            count=int(found.rows[b]),
        )
        for b in range(bins)
    )
