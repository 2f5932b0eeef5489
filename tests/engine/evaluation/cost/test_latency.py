"""Latency: what is run, how often, and what is made of it. No figure of time decides a test."""

import time
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from app.contracts.reports.report import Latency
from workers.engine.common.stop import Stopped
from workers.engine.evaluation.cost.latency import (
    BATCH_SIZES,
    Timed,
    example_batches,
    measure_latencies,
    percentile,
    side_by_side,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def few_timed_passes() -> None:
    """Here the times are what is tested: as many passes as in a job."""


def measured(forward: Callable[[Tensor], object], rows: Tensor) -> dict[str, Latency]:
    return measure_latencies({"one": Timed(forward, rows)}, CPU)["one"]


def test_batches_of_1_and_64_are_timed() -> None:
    seen: list[int] = []
    found = measured(lambda x: seen.append(len(x)), torch.zeros(3, 4))
    assert set(found) == {"1", "64"}
    assert set(seen) == set(BATCH_SIZES)
    assert all(0.0 < latency.median_ms <= latency.p95_ms for latency in found.values())


def test_a_warm_up_comes_first_and_passes_are_bounded() -> None:
    passes = 0

    def forward(x: Tensor) -> None:
        nonlocal passes
        passes += 1
        time.sleep(0.001)

    side_by_side({"one": partial(forward, torch.zeros(1))}, CPU)
    assert 2 <= passes <= 400


def test_several_networks_take_turns() -> None:
    """Other work on the machine then slows all of them, not the one that it meets."""
    calls: list[str] = []
    parties = {name: Timed(lambda x, name=name: calls.append(name), torch.zeros(2, 1)) for name in ("big", "small")}  # type: ignore[misc]
    found = measure_latencies(parties, CPU)
    assert {name: set(each) for name, each in found.items()} == {"big": {"1", "64"}, "small": {"1", "64"}}
    assert calls[: 4 * 3] == ["big", "big", "small", "small"] * 3


def test_slow_passes_end_at_a_time_of_their_own() -> None:
    calls = 0

    def forward() -> None:
        nonlocal calls
        calls += 1
        time.sleep(0.05)

    side_by_side({"slow": forward}, CPU, budget=0.01, longest=0.08)
    assert 2 <= calls <= 3, "one to warm up, and two where the machine is quick"


def test_a_stop_ends_the_passes() -> None:
    calls: list[str] = []

    def check_stop() -> None:
        if len(calls) == 3:
            raise Stopped("cancel")

    passes = {name: partial(calls.append, name) for name in ("big", "small")}
    with pytest.raises(Stopped):
        side_by_side(passes, CPU, check_stop=check_stop)
    assert calls == ["big", "small", "big"]


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

    assert not measured(forward, torch.zeros(1, 2))["1"].steady
