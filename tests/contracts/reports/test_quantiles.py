"""Quantiles without scipy, against scipy's."""

import pytest
from scipy.special import ndtri, stdtrit

from app.contracts.reports.quantiles import normal_quantile, t_quantile

TAILS = (0.4, 0.2, 0.025, 0.025 / 10, 0.025 / 190, 1e-6)


@pytest.mark.parametrize("freedom", [0.5, 1.0, 1.7, 2.0, 4.3, 30.0, 120.5, 1e3, 1e5, 1e7])
def test_quantiles_of_t_are_those_of_scipy(freedom: float) -> None:
    expected = [-float(stdtrit(freedom, tail)) for tail in TAILS]
    assert [t_quantile(freedom, tail) for tail in TAILS] == pytest.approx(expected, rel=1e-8)


def test_quantiles_of_the_normal_distribution_are_those_of_scipy() -> None:
    assert [normal_quantile(tail) for tail in TAILS] == pytest.approx([-float(ndtri(tail)) for tail in TAILS], rel=1e-9)


def test_the_median_is_0() -> None:
    assert t_quantile(3.0, 0.5) == normal_quantile(0.5) == 0.0
