"""Upper quantiles of the normal distribution and of Student's t. Standard library only, as the API has no scipy."""

import math
from statistics import NormalDist
from typing import Final

_TINY: Final = 1e-300
_PRECISION: Final = 1e-13
_MOST_TERMS: Final = 10_000
_MOST_STEPS: Final = 100


def normal_quantile(tail: float) -> float:
    """The value that a standard normal variable exceeds with probability `tail`, in (0, 1/2]."""
    return -NormalDist().inv_cdf(tail)


def t_quantile(freedom: float, tail: float) -> float:
    """The value that Student's t with `freedom` > 0 degrees of freedom exceeds with probability `tail`, in (0, 1/2].

    Solves P(T > t) = I_x(ν/2, 1/2) / 2 with x = ν / (ν + t²) (Abramowitz and Stegun 26.7.1) by Newton's method in log P
    over log t, a concave function, from the normal quantile.
    """
    if tail >= 0.5:
        return 0.0
    t = normal_quantile(tail)
    for _ in range(_MOST_STEPS):
        above = _t_tail(t, freedom)
        step = math.log(above / tail) * above / (t * _t_density(t, freedom))
        t *= math.exp(step)
        if abs(step) < _PRECISION:
            break
    return t


def _t_density(t: float, freedom: float) -> float:
    scale = math.lgamma(0.5 * (freedom + 1.0)) - math.lgamma(0.5 * freedom) - 0.5 * math.log(freedom * math.pi)
    return math.exp(scale - 0.5 * (freedom + 1.0) * math.log1p(t * t / freedom))


def _t_tail(t: float, freedom: float) -> float:
    """P(T > t) for t >= 0."""
    square = t * t
    return 0.5 * _incomplete_beta(0.5 * freedom, 0.5, freedom / (freedom + square), square / (freedom + square))


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """The regularised incomplete beta function I_x(a, b); `rest` is 1 - x, given so that no digit of it is lost.

    The continued fraction of DLMF 8.17.22 by the modified method of Lentz (1976); it converges quickly for
    x < (a + 1) / (a + b + 2), and otherwise I_x(a, b) = 1 - I_{1-x}(b, a).
    """
    if x <= 0.0 or rest <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(b, a, rest, x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * _log(x, rest) + b * _log(rest, x))
    return front * _fraction(a, b, x) / a


def _log(x: float, rest: float) -> float:
    """log(x), from 1 - x where x is near 1."""
    return math.log1p(-rest) if rest < 0.5 else math.log(x)


def _fraction(a: float, b: float, x: float) -> float:
    value, c, d = 1.0, 1.0, 0.0
    for k in range(_MOST_TERMS):
        m = k // 2
        if k == 0:
            term = 1.0
        elif k % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1.0 / (_nonzero(1.0 + term * d))
        c = _nonzero(1.0 + term / c)
        value *= c * d
        if abs(c * d - 1.0) < _PRECISION:
            break
    return value - 1.0


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
