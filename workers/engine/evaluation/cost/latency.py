"""Time of one forward pass: warmed up, synchronised, bounded."""

import math
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from app.contracts.reports.report import Latency

BATCH_SIZES = (1, 64)
_BUDGET_SECONDS = 0.3
_WARM_UP_SECONDS = 0.02
_MOST_PASSES = 100
_FEWEST_PASSES = 5
_LONGEST_SECONDS = 5.0
UNSTEADY = 5.0
"""Times its median, above which a 95th percentile tells of a busy device."""


def example_batches(rows: Tensor, sizes: tuple[int, ...] = BATCH_SIZES) -> dict[int, Tensor]:
    """Batches of the wanted sizes from real rows ([n, …], n >= 1), repeated where there are too few."""
    return {size: rows[torch.arange(size) % len(rows)].contiguous() for size in sizes}


def measure_latency(
    forward: Callable[[Tensor], object], batches: Mapping[int, Tensor], device: torch.device
) -> dict[str, Latency]:
    """Median and 95th percentile in milliseconds, by batch size.

    `forward` runs one pass in evaluation mode. Up to 100 passes or 0.3 s after a warm-up; a slow network gets 5
    passes, and fewer once they have taken 5 s, so that a batch size costs at most about 5 s and two passes.
    """
    return {str(size): _timed(forward, batch, device) for size, batch in batches.items()}


def _timed(forward: Callable[[Tensor], object], batch: Tensor, device: torch.device) -> Latency:
    began = time.perf_counter()
    while True:
        _one_pass(forward, batch, device)
        if time.perf_counter() - began >= _WARM_UP_SECONDS:
            break
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < _MOST_PASSES:
        seconds.append(_one_pass(forward, batch, device))
        spent = time.perf_counter() - began
        if spent >= _LONGEST_SECONDS or (spent >= _BUDGET_SECONDS and len(seconds) >= _FEWEST_PASSES):
            break
    median, late = statistics.median(seconds), percentile(seconds, 0.95)
    return Latency(median_ms=1e3 * median, p95_ms=1e3 * late, steady=late <= UNSTEADY * median)


def _one_pass(forward: Callable[[Tensor], object], batch: Tensor, device: torch.device) -> float:
    """Seconds of one pass; kernels of a GPU run on after the call returns, so both ends wait for it."""
    _synchronise(device)
    began = time.perf_counter()
    forward(batch)
    _synchronise(device)
    return time.perf_counter() - began


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def percentile(values: list[float], share: float) -> float:
    """The value that at least `share` of `values` do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
