"""Latency of forward passes: after a warm-up, synchronised, side by side, within a time limit."""

import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from app.contracts.reports.report import Latency

BATCH_SIZES = (1, 64)
_BUDGET_SECONDS = 0.05
_WARM_UP_SECONDS = 0.01
_MAX_PASSES = 100
_MIN_PASSES = 5
_MAX_SECONDS = 0.5
UNSTEADY = 5.0
"""Ratio of 95th percentile to median above which the device was busy with other work."""

K = TypeVar("K", bound=Hashable)
Pass = Callable[[], object]
"""One forward pass."""


def example_batches(rows: Tensor, sizes: tuple[int, ...] = BATCH_SIZES) -> dict[int, Tensor]:
    """Batches of these sizes from rows [n, …] (n >= 1), repeated if there are too few."""
    return {size: rows[torch.arange(size) % len(rows)].contiguous() for size in sizes}


@dataclass(frozen=True)
class Timed:
    """A network to be timed: `forward` runs one pass in evaluation mode, `rows` [n, …] are what it takes (n >= 1)."""

    forward: Callable[[Tensor], object]
    rows: Tensor


def measure_latencies(
    parties: Mapping[K, Timed], device: torch.device, check_stop: Callable[[], None] = lambda: None
) -> dict[K, dict[str, Latency]]:
    """The times of several networks by batch size, measured side by side. `check_stop` as for `side_by_side`."""
    passes = {
        (key, str(size)): partial(party.forward, batch)
        for key, party in parties.items()
        for size, batch in example_batches(party.rows).items()
    }
    found = side_by_side(passes, device, check_stop=check_stop)
    return {key: {size: each for (of, size), each in found.items() if of == key} for key in parties}


def side_by_side(
    passes: Mapping[K, Pass],
    device: torch.device,
    budget: float = _BUDGET_SECONDS,
    longest: float = _MAX_SECONDS,
    check_stop: Callable[[], None] = lambda: None,
) -> dict[K, Latency]:
    """Median and 95th percentile of each pass in milliseconds. They are called in turn, so that other work on the
    machine slows all of them alike.

    After a warm-up there are up to 100 rounds, within `budget` seconds for each pass; slow ones are called 5 times, or
    fewer once they have taken `longest` seconds each. `check_stop` is called before each pass, and may raise.
    """
    warm_up = _WARM_UP_SECONDS * len(passes)
    _rounds(passes, device, warm_up, warm_up, 1, check_stop)
    seconds = _rounds(passes, device, budget * len(passes), longest * len(passes), _MIN_PASSES, check_stop)
    return {key: _latency(times) for key, times in seconds.items()}


def _rounds(
    passes: Mapping[K, Pass],
    device: torch.device,
    budget: float,
    longest: float,
    least: int,
    check_stop: Callable[[], None],
) -> dict[K, list[float]]:
    """Seconds of every call of each pass."""
    seconds: dict[K, list[float]] = {key: [] for key in passes}
    began = time.perf_counter()
    for done in range(1, _MAX_PASSES + 1):
        for key, forward in passes.items():
            check_stop()
            seconds[key].append(_one_pass(forward, device))
        spent = time.perf_counter() - began
        if spent >= budget and (done >= least or spent >= longest):
            break
    return seconds


def _latency(seconds: list[float]) -> Latency:
    median, p95 = statistics.median(seconds), percentile(seconds, 0.95)
    return Latency(median_ms=1e3 * median, p95_ms=1e3 * p95, steady=p95 <= UNSTEADY * median)


def _one_pass(forward: Pass, device: torch.device) -> float:
    """Seconds of one pass. GPU kernels run asynchronously, so the device is synchronised before and after."""
    _synchronise(device)
    began = time.perf_counter()
    forward()
    _synchronise(device)
    return time.perf_counter() - began


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `share` of `values` do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
