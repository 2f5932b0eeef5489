"""Confidence intervals of the difference between two groups of networks on the same test rows.

Networks (seeds) and rows are crossed factors. X [n, R] holds the contribution of each row to each network's metric: its
mean over rows is the metric, its overall mean the group's mean metric.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from app.contracts.reports.confidence import CONFIDENCE, tail


@dataclass(frozen=True)
class Estimate:
    """An estimated difference, its variance, and the degrees of freedom of that variance."""

    difference: float
    variance: float
    freedom: float

    @property
    def standard_error(self) -> float:
        """The square root of the variance."""
        return math.sqrt(self.variance)

    def interval(self, min_half_width: float = 0.0, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """The t interval at this level, at least `min_half_width` to each side."""
        from scipy.special import stdtrit  # imported where it is used: the fork server imports this module

        half = max(float(stdtrit(self.freedom, 1.0 - tail(confidence))) * self.standard_error, min_half_width)
        return self.difference - half, self.difference + half


def crossed(students: Tensor, controls: Tensor) -> Estimate:
    """The estimate of mean(students) - mean(controls) over other seeds *and* other test rows.

    `students` float64 [n, R], `controls` float64 [m, R]; n, m, R >= 2; the seeds are not paired. With

        S = s²(metrics of students)/n + s²(metrics of controls)/m        Welch's variance: seeds on these rows
        D_r = mean over students of X_sr - mean over controls of X_cr    how the groups differ on row r
        V = s²(D_r) / R                                                  the variance over rows
        E = MS(students)/(nR) + MS(controls)/(mR)                        seed × row noise, contained in both S and V

    the variance is S + max(V - E, 0): that of a two-way crossed random effects model, as in two-way clustering
    (Cameron, Gelbach, Miller 2011). MS is the mean square of the interaction. The quantile is Student's t with
    Satterthwaite's (1946) degrees of freedom; with V <= E and n = m this is Welch's (1947) interval.

    Of groups of unequal sizes, s² of the smaller one is at least the variance that both have in common (pooled, n + m
    - 2 degrees of freedom). A variance that few networks happen to underestimate makes Welch's interval of 3 students
    and 15 controls miss the difference in 7 % of cases instead of 5 %.
    """
    over_seeds, over_rows = _Variance.of_seeds(students, controls), _Variance.of_rows(students, controls)
    noise = _residual(students) + _residual(controls)
    # A negative estimate of the variance over rows counts as 0.
    extra = _Variance(max(over_rows.value - noise, 0.0), over_rows.freedom)
    return over_seeds.plus(extra).of(students, controls)


def over_rows(students: Tensor, controls: Tensor) -> Estimate:
    """The estimate of mean(students) - mean(controls) over other test rows, for these networks: from D_r alone.

    Arguments as in `crossed`; n and m may be 1. It covers training noise only as far as the networks of a group err on
    different rows.
    """
    return _Variance.of_rows(students, controls).of(students, controls)


@dataclass(frozen=True)
class _Variance:
    """An estimated variance of the difference, with its degrees of freedom."""

    value: float
    freedom: float

    @classmethod
    def of_seeds(cls, students: Tensor, controls: Tensor) -> "_Variance":
        groups = [group.mean(dim=1) for group in (students, controls)]
        variances = [_Variance._of_mean(group) for group in groups]
        if len(students) != len(controls):
            smaller = min((0, 1), key=lambda i: len(groups[i]))
            common = _common(groups[0], groups[1])
            if common.value > float(groups[smaller].var(correction=1)):
                larger = variances[1 - smaller].value
                return _Variance(common.value / len(groups[smaller]) + larger, common.freedom)
        return variances[0].plus(variances[1])

    @classmethod
    def of_rows(cls, students: Tensor, controls: Tensor) -> "_Variance":
        return cls._of_mean(students.mean(dim=0) - controls.mean(dim=0))

    @classmethod
    def _of_mean(cls, values: Tensor) -> "_Variance":
        return cls(float(values.var(correction=1)) / len(values), len(values) - 1.0)

    def plus(self, other: "_Variance") -> "_Variance":
        """The sum of independent variances, with Satterthwaite's degrees of freedom; the lower ones if both are 0."""
        scale = max(self.value, other.value)
        if scale == 0.0:
            return _Variance(0.0, min(self.freedom, other.freedom))
        one, two = self.value / scale, other.value / scale  # scaled, as squares of small variances underflow
        freedom = (one + two) ** 2 / (one**2 / self.freedom + two**2 / other.freedom)
        return _Variance(self.value + other.value, freedom)

    def of(self, students: Tensor, controls: Tensor) -> Estimate:
        """The estimate of the difference of means that has this variance."""
        return Estimate(float(students.mean()) - float(controls.mean()), self.value, self.freedom)


def _common(group: Tensor, other: Tensor) -> _Variance:
    """The variance that two groups [n], [m] have in common."""
    freedom = len(group) + len(other) - 2.0
    squares = sum(float(each.var(correction=1)) * (len(each) - 1) for each in (group, other))
    return _Variance(squares / freedom, freedom)


def _residual(group: Tensor) -> float:
    """The share of seed × row noise in the variance of a group's mean: MS / (n R), X [n, R]."""
    n, rows = group.shape
    left = group - group.mean(dim=1, keepdim=True) - group.mean(dim=0, keepdim=True) + group.mean()
    return float(left.square().sum()) / ((n - 1) * (rows - 1)) / (n * rows)
