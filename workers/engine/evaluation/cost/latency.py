"""Latency of a forward pass: after a warm-up, synchronised, within a time limit."""

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
_MAX_PASSES = 100
_MIN_PASSES = 5
_MAX_SECONDS = 5.0
UNSTEADY = 5.0
"""Ratio of 95th percentile to median above which the device was busy with other work."""


def example_batches(rows: Tensor, sizes: tuple[int, ...] = BATCH_SIZES) -> dict[int, Tensor]:
    """Batches of these sizes from rows [n, …] (n >= 1), repeated if there are too few."""
    return {size: rows[torch.arange(size) % len(rows)].contiguous() for size in sizes}


def measure_latency(
    forward: Callable[[Tensor], object], batches: Mapping[int, Tensor], device: torch.device
) -> dict[str, Latency]:
    """Median and 95th percentile in milliseconds, by batch size.

    `forward` runs one pass in evaluation mode. After a warm-up it is called up to 100 times within 0.3 s; a slow
    network is called 5 times, or fewer once that takes 5 s.
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
    while len(seconds) < _MAX_PASSES:
        seconds.append(_one_pass(forward, batch, device))
        spent = time.perf_counter() - began
        if spent >= _MAX_SECONDS or (spent >= _BUDGET_SECONDS and len(seconds) >= _MIN_PASSES):
            break
    median, p95 = statistics.median(seconds), percentile(seconds, 0.95)
    return Latency(median_ms=1e3 * median, p95_ms=1e3 * p95, steady=p95 <= UNSTEADY * median)


def _one_pass(forward: Callable[[Tensor], object], batch: Tensor, device: torch.device) -> float:
    """Seconds of one pass. GPU kernels run asynchronously, so the device is synchronised before and after."""
    _synchronise(device)
    began = time.perf_counter()
    forward(batch)
    _synchronise(device)
    return time.perf_counter() - began


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `share` of `values` do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
