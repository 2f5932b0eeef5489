"""Latency: what is run, how often, and what is made of it. No figure of time decides a test."""

import time

import pytest
import torch
from torch import Tensor

from workers.engine.evaluation.cost.latency import BATCH_SIZES, example_batches, measure_latency, percentile

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def few_timed_passes() -> None:
    """Here the times are what is tested: as many passes as in a job."""


def test_batches_of_1_and_64_are_timed() -> None:
    seen: list[int] = []
    found = measure_latency(lambda x: seen.append(len(x)), example_batches(torch.zeros(3, 4)), CPU)
    assert set(found) == {"1", "64"}
    assert set(seen) == set(BATCH_SIZES)
    assert all(0.0 < latency.median_ms <= latency.p95_ms for latency in found.values())


def test_a_warm_up_comes_first_and_passes_are_bounded() -> None:
    passes = 0

    def forward(x: Tensor) -> None:
        nonlocal passes
        passes += 1
        time.sleep(0.001)

    measure_latency(forward, {1: torch.zeros(1)}, CPU)
    assert 2 <= passes <= 400


def test_few_rows_are_repeated_to_fill_a_batch() -> None:
    batches = example_batches(torch.arange(3)[:, None])
    assert batches[64].shape == (64, 1)
    assert batches[64][:4].flatten().tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(("share", "expected"), [(0.95, 95.0), (0.5, 50.0), (0.0, 1.0), (1.0, 100.0)])
def test_a_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile([float(i) for i in range(100, 0, -1)], share) == expected


def test_the_percentile_of_one_pass_is_that_pass() -> None:
    assert percentile([3.0], 0.95) == 3.0


def test_times_that_scatter_are_called_unsteady() -> None:
    """A pass that is now and then slow for a reason of its own: the device was busy with something else."""
    calls = iter(range(10_000))

    def forward(batch: torch.Tensor) -> None:
        if next(calls) % 5 == 4:
            time.sleep(0.03)

    found = measure_latency(forward, {1: torch.zeros(1, 2)}, torch.device("cpu"))
    assert not found["1"].steady
