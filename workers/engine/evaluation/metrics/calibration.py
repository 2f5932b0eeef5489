"""Confidence and accuracy of class predictions in bins of confidence, for the calibration error and its diagram."""

from dataclasses import dataclass

import torch
from torch import Tensor

ECE_BINS = 15


@dataclass(frozen=True)
class ConfidenceBins:
    """Sums over the rows of each bin, float64 [bins]: rows, right predictions, confidences."""

    rows: Tensor
    right: Tensor
    confidence: Tensor

    @property
    def calibration_error(self) -> float:
        """Expected calibration error (Guo 2017): sum over bins of |right - confidence| / all rows."""
        return float((self.right - self.confidence).abs().sum() / self.rows.sum())


def confidence_bins(log_p: Tensor, labels: Tensor, bins: int = ECE_BINS) -> ConfidenceBins:
    """Log-probabilities float64 [n, C] and labels int64 [n] -> `bins` bins of equal width.

    A row's confidence is its highest probability; a confidence on an edge belongs to the bin above, 1 to the last bin.
    """
    highest, predicted = log_p.max(dim=1)
    confidence = highest.exp().clamp(max=1.0)
    edges = torch.linspace(0.0, 1.0, bins + 1, dtype=torch.float64)
    index = (torch.bucketize(confidence, edges, right=True) - 1).clamp(max=bins - 1)
    weights = (torch.ones_like(confidence), (predicted == labels).double(), confidence)
    return ConfidenceBins(*(torch.bincount(index, each, minlength=bins) for each in weights))
