"""Intervals and words corrected for the number of compared jobs."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from app.contracts.reports.corrections import corrected_word, simultaneous_interval, word_of
from app.contracts.reports.report import Verdict
from app.contracts.reports.verdict_words import VerdictWord

JOBS = 10


def verdict(**parts: Any) -> Verdict:
    base = {"verdict": "inconclusive", "metric": "rmse", "difference": 0.0, "method": "", "repeats": 3}
    return Verdict.model_validate(base | parts)


def half_widths(found: Verdict, comparisons: int) -> tuple[float, float]:
    interval = simultaneous_interval(found, comparisons)
    assert interval is not None
    assert found.difference is not None
    return found.difference - interval[0], interval[1] - found.difference


@pytest.mark.parametrize("freedom", [2.0, 4.7, 200.0])
def test_a_t_interval_gets_the_quantile_of_its_share_of_the_error(freedom: float) -> None:
    half = float(stats.t.ppf(0.975, freedom)) * 0.01
    found = verdict(difference=0.03, interval=(0.03 - half, 0.03 + half), standard_error=0.01, freedom=freedom)
    expected = float(stats.t.ppf(1 - 0.05 / (2 * JOBS), freedom)) * 0.01
    assert half_widths(found, JOBS) == pytest.approx((expected, expected), rel=1e-7)


def test_other_intervals_are_widened_by_the_ratio_of_normal_quantiles_on_each_side() -> None:
    ratio = float(stats.norm.ppf(1 - 0.05 / (2 * JOBS)) / stats.norm.ppf(0.975))
    found = verdict(difference=0.03, interval=(0.01, 0.06))
    assert half_widths(found, JOBS) == pytest.approx((0.02 * ratio, 0.03 * ratio))


def test_one_comparison_is_not_corrected_and_accuracies_stay_within_1() -> None:
    assert half_widths(verdict(difference=0.03, interval=(0.01, 0.06)), 1) == pytest.approx((0.02, 0.03))
    wide = verdict(metric="accuracy", difference=0.5, interval=(-0.6, 0.9), freedom=2.0)
    assert simultaneous_interval(wide, 20) == (-1.0, 1.0)
    assert simultaneous_interval(verdict(interval=None), 20) is None


@pytest.mark.parametrize(
    ("word", "interval", "expected"),
    [
        ("gain", (0.001, 0.05), "gain"),
        ("gain", (-0.001, 0.05), "inconclusive"),
        ("loss", (-0.05, 0.001), "inconclusive"),
        ("no_gain", (-0.004, 0.004), "no_gain"),
        ("no_gain", (-0.004, 0.006), "inconclusive"),
        ("no_gain", (0.001, 0.006), "inconclusive"),
        ("inconclusive", (0.001, 0.05), "inconclusive"),
    ],
)
def test_a_corrected_word_is_never_a_stronger_one(
    word: VerdictWord, interval: tuple[float, float], expected: str
) -> None:
    assert corrected_word(verdict(verdict=word, margin=0.005), interval) == expected


@pytest.mark.parametrize("word", ["provisional_gain", "gain"])
def test_a_single_pair_stays_provisional_also_in_reports_without_provisional_words(word: VerdictWord) -> None:
    found = verdict(verdict=word, repeats=1)
    assert word_of(found) == corrected_word(found, (0.01, 0.05)) == "provisional_gain"
    assert corrected_word(found, (-0.01, 0.05)) == "undecided"


def test_of_ten_useless_methods_one_seems_to_help_in_a_quarter_of_cases_and_corrected_in_5_percent() -> None:
    """Three seeds each against one control. The standard error of 250 trials is 1.4 points at 5 %."""
    trials = 250
    networks = np.random.default_rng(0).normal(size=(trials, JOBS + 1, 3))
    found = stats.ttest_ind(networks[:, 1:], networks[:, :1], axis=2, equal_var=False)
    low, high = found.confidence_interval(0.95)
    uncorrected = np.mean(((low > 0.0) | (high < 0.0)).any(axis=1))
    corrected = np.mean(
        [
            any(
                _excludes_0(verdict(difference=(one + other) / 2, interval=(one, other), freedom=freedom))
                for one, other, freedom in zip(low[trial], high[trial], found.df[trial], strict=True)
            )
            for trial in range(trials)
        ]
    )
    assert uncorrected > 0.15
    assert corrected <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)


def _excludes_0(found: Verdict) -> bool:
    interval = simultaneous_interval(found, JOBS)
    assert interval is not None
    return interval[0] > 0.0 or interval[1] < 0.0
