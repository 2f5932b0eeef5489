"""The quantile of Student's t distribution, for any number of degrees of freedom (Welch's is no integer).

For t > 0 the upper tail is P(T > t) = I_x(ν/2, 1/2) / 2 with x = ν / (ν + t²), where I is the regularised incomplete
beta function. I comes from its continued fraction by Lentz's method as modified by Thompson and Barnett (1986); the
quantile is found by bisection. A worker has no SciPy, and torch has no such quantile.
"""

import math

_MOST_FREEDOM = 1e6
"""Beyond it the quantile is the normal one to 3e-6, and lgamma's differences lose digits."""

_TINY = 1e-300
_CLOSE = 1e-15
_MOST_TERMS = 10_000
_HALVINGS = 200


def student_t_quantile(probability: float, freedom: float) -> float:
    """The t with P(T <= t) = `probability` (inside 0 to 1) at `freedom` > 0 degrees of freedom."""
    if not 0.0 < probability < 1.0 or not freedom > 0.0:
        raise ValueError(
            f"expected a probability inside 0 to 1 and a positive freedom, found {probability} and {freedom}"
        )
    tail = min(probability, 1.0 - probability)
    t = _upper_point(tail, min(freedom, _MOST_FREEDOM))
    return t if probability > 0.5 else -t


def _upper_point(tail: float, freedom: float) -> float:
    """The t >= 0 whose upper tail is `tail` (at most 0.5)."""
    high = 1.0
    while _upper_tail(high, freedom) > tail:
        high *= 2.0
    low = 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        if _upper_tail(middle, freedom) > tail:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _upper_tail(t: float, freedom: float) -> float:
    square = t * t
    # Both shares are formed directly: 1 - x would lose the digits of t at many degrees of freedom.
    return 0.5 * _incomplete_beta(freedom / (freedom + square), square / (freedom + square), freedom / 2.0, 0.5)


def _incomplete_beta(x: float, rest: float, a: float, b: float) -> float:
    """Regularised I_x(a, b), where `rest` is 1 - x. The fraction converges fast below the mean of the distribution."""
    if x <= 0.0 or rest <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    front = math.exp(log_front)
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(rest, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """1 / (1 + d1 / (1 + d2 / (1 + …))), the continued fraction of I_x(a, b) (Abramowitz and Stegun 26.5.8)."""
    c, d = 1.0, 1.0 / _kept_from_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = 1.0
        for coefficient in (even, odd):
            d = 1.0 / _kept_from_zero(1.0 + coefficient * d)
            c = _kept_from_zero(1.0 + coefficient / c)
            step = c * d
            value *= step
        if abs(step - 1.0) < _CLOSE:
            break
    return value


def _kept_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
