"""Intervals over seeds and rows: against formulas written apart, and by how often they are wrong on drawn networks."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from tests.engine.evaluation.cases import drawn_right, seeded
from workers.engine.evaluation.verdict.crossed_interval import crossed, over_rows

Interval = Callable[[Tensor, Tensor], tuple[float, float]]
TRIALS = 600


def crossed_interval(students: Tensor, controls: Tensor) -> tuple[float, float]:
    return crossed(students, controls).interval(confidence=0.95)


def row_interval(students: Tensor, controls: Tensor) -> tuple[float, float]:
    return over_rows(students, controls).interval(confidence=0.95)


def group(networks: int, rows: int, seed: int) -> Tensor:
    """Contributions with effects of networks, of rows and of both."""
    generator = seeded(seed)
    effects = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((networks, 1), (1, rows))]
    noise = torch.randn(networks, rows, generator=generator, dtype=torch.float64)
    return 0.8 + 0.02 * effects[0] + 0.2 * effects[1] + 0.3 * noise


def written_out(students: NDArray[np.float64], controls: NDArray[np.float64]) -> tuple[float, float]:
    """The docstring's formula in loops."""
    (n, rows), m = students.shape, len(controls)
    variances, noise = [], 0.0
    for networks in (students, controls):
        k = len(networks)
        means = [sum(networks[s]) / rows for s in range(k)]
        whole = sum(means) / k
        variances.append(sum((mean - whole) ** 2 for mean in means) / (k - 1))
        square = 0.0
        for s in range(k):
            for r in range(rows):
                square += (networks[s, r] - means[s] - sum(networks[:, r]) / k + whole) ** 2
        noise += square / ((k - 1) * (rows - 1)) / (k * rows)
    gaps = [sum(students[:, r]) / n - sum(controls[:, r]) / m for r in range(rows)]
    gap = sum(gaps) / rows
    over_rows = sum((each - gap) ** 2 for each in gaps) / (rows - 1) / rows
    common = ((n - 1) * variances[0] + (m - 1) * variances[1]) / (n + m - 2)
    smaller = 0 if n < m else 1
    raised = n != m and common > variances[smaller]
    if raised:
        variances[smaller] = common
    parts = [variances[0] / n, variances[1] / m]
    seeds, beyond = sum(parts), max(over_rows - noise, 0.0)
    of_seeds = n + m - 2 if raised else seeds**2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1))
    freedom = (seeds + beyond) ** 2 / (seeds**2 / of_seeds + beyond**2 / (rows - 1))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(seeds + beyond)
    return gap - half, gap + half


@pytest.mark.parametrize(("n", "m", "rows"), [(3, 3, 40), (5, 3, 60), (2, 4, 7), (3, 15, 50)])
def test_it_is_the_formula(n: int, m: int, rows: int) -> None:
    students, controls = group(n, rows, seed=1), group(m, rows, seed=2)
    expected = written_out(students.numpy(), controls.numpy())
    assert crossed_interval(students, controls) == pytest.approx(expected, rel=1e-8)


def test_rows_that_add_nothing_leave_welchs_interval() -> None:
    ours = torch.tensor([0.91, 0.93, 0.94, 0.93], dtype=torch.float64)
    theirs = torch.tensor([0.90, 0.88, 0.93, 0.91], dtype=torch.float64)
    expected = stats.ttest_ind(ours.numpy(), theirs.numpy(), equal_var=False).confidence_interval(0.95)
    found = crossed_interval(ours[:, None].expand(4, 50), theirs[:, None].expand(4, 50))
    assert found == pytest.approx((expected.low, expected.high), rel=1e-8)


def test_networks_that_are_all_alike_leave_the_paired_interval_over_rows() -> None:
    students, controls = (group(1, 80, seed).expand(3, 80) for seed in (3, 4))
    expected = stats.ttest_rel(students[0].numpy(), controls[0].numpy()).confidence_interval(0.95)
    found = crossed_interval(students, controls)
    assert found == pytest.approx((expected.low, expected.high), rel=1e-8)
    assert row_interval(students[:1], controls[:1]) == pytest.approx((expected.low, expected.high), rel=1e-8)


def test_the_level_of_verdicts_is_97_and_a_half_percent() -> None:
    students, controls = (group(4, 30, seed).mean(dim=1)[:, None].expand(4, 30) for seed in (5, 6))
    welch = stats.ttest_ind(students[:, 0].numpy(), controls[:, 0].numpy(), equal_var=False)
    expected = welch.confidence_interval(0.975)
    assert crossed(students, controls).interval() == pytest.approx((expected.low, expected.high), rel=1e-8)


@pytest.mark.parametrize(("freedom", "printed"), [(1, 12.706), (2, 4.303), (4, 2.776), (10, 2.228), (120, 1.980)])
def test_the_quantile_is_what_the_tables_print(freedom: int, printed: float) -> None:
    differences = group(1, freedom + 1, seed=7)
    low, high = row_interval(differences, torch.zeros_like(differences))
    deviation = float(differences.std(correction=1)) / math.sqrt(freedom + 1)
    assert (high - low) / 2 / deviation == pytest.approx(printed, abs=5e-4)


def test_the_order_of_seeds_means_nothing() -> None:
    students, controls = group(4, 30, seed=5), group(4, 30, seed=6)
    moved = crossed_interval(students[[2, 0, 3, 1]], controls)
    assert moved == pytest.approx(crossed_interval(students, controls), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_it_scales_with_the_metric(scale: float) -> None:
    students, controls = group(3, 30, seed=7), group(3, 30, seed=8)
    low, high = crossed_interval(students, controls)
    assert crossed_interval(scale * students, scale * controls) == pytest.approx((scale * low, scale * high), rel=1e-9)


def test_no_difference_anywhere_has_the_least_width() -> None:
    same = torch.full((3, 20), 0.5, dtype=torch.float64)
    assert crossed_interval(same, same) == (0.0, 0.0)
    assert crossed(same, same).interval(0.1) == (-0.1, 0.1)
    assert over_rows(same, same).interval(0.1) == (-0.1, 0.1)


def wrong_share(interval: Interval, networks: int, controls: int = 0, *, gain: float = 0.0, **noise: float) -> float:
    """How often the interval misses the true difference, over drawn groups of networks on 400 rows."""
    generator, wrong = seeded(networks), 0
    for _ in range(TRIALS):
        difficulty = torch.randn(400, generator=generator, dtype=torch.float64)
        ours, theirs = (
            drawn_right(number, 400, accuracy, generator, difficulty=difficulty, **noise).double()
            for number, accuracy in ((networks, 0.9 + gain), (controls or networks, 0.9))
        )
        low, high = interval(ours, theirs)
        wrong += not low <= gain <= high
    return wrong / TRIALS


def welch(students: Tensor, controls: Tensor) -> tuple[float, float]:
    found = stats.ttest_ind(students.mean(1).numpy(), controls.mean(1).numpy(), equal_var=False)
    interval = found.confidence_interval(0.95)
    return interval.low, interval.high


@pytest.mark.parametrize("networks", [3, 5])
@pytest.mark.parametrize("gain", [0.0, 0.02])
@pytest.mark.parametrize("noise", [{"seeds": 0.1}, {"own_rows": 0.4, "seeds": 0.05}, {"own_rows": 0.6}])
def test_it_misses_the_truth_in_about_5_percent(networks: int, gain: float, noise: dict[str, float]) -> None:
    """The standard error of 600 trials is 0.9 points."""
    assert 0.02 <= wrong_share(crossed_interval, networks, networks, gain=gain, **noise) <= 0.075


@pytest.mark.parametrize("controls", [6, 15])
@pytest.mark.parametrize("seeds", [0.05, 0.1])
def test_three_students_against_many_controls_miss_no_more(controls: int, seeds: float) -> None:
    """Welch's interval misses in about 7 %."""
    assert wrong_share(crossed_interval, 3, controls=controls, own_rows=0.2, seeds=seeds) <= 0.065


def test_rows_alone_are_wrong_where_seeds_differ() -> None:
    assert wrong_share(row_interval, 3, seeds=0.1) > 0.15


def test_seeds_alone_are_wrong_where_a_teacher_moves_what_is_hard() -> None:
    """Equal groups that fail on different rows: on other test rows the winner is another."""
    assert wrong_share(welch, 5, own_rows=0.6) > 0.15
