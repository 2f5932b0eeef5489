"""How many repeats or test rows would settle an open verdict: a sample size from the components of the variance.

The components are those of `crossed_interval`, of one network and one row each, so that the standard error for other
numbers of students n, controls m and rows R follows:

    SE² = (T_s + M_s / R) / n + (T_c + M_c / R) / m + D / R

A difference δ is found with 80 % power where max(t(1 - tail) SE, least half-width) + t(0.8) SE <= δ, the usual
approximation by central t quantiles (Chow, Shao, Wang 2008, section 3.2), with Satterthwaite's degrees of freedom.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from app.contracts.reports.confidence import CONFIDENCE, tail
from app.contracts.reports.quantiles import normal_quantile
from app.contracts.reports.report import Verdict
from app.contracts.reports.settling import WouldSettle

POWER = 0.8
LEAST_REPEATS = 3
"""Number of networks of each from which training noise can be estimated."""
MOST_REPEATS = 16
MOST_ROWS = 10_000_000
_TAIL = tail(CONFIDENCE)
_OPEN = ("inconclusive", "undecided")


@dataclass(frozen=True)
class Group:
    """The variance of one network's metric: `training` over seeds on any rows (T), `row` of seed × row noise (M)."""

    training: float
    row: float

    @classmethod
    def of(cls, contributions: Tensor) -> "Group":
        """Estimated from float64 [n, R]; n, R >= 2. Negative estimates count as 0."""
        n, rows = contributions.shape
        by_network, by_row = contributions.mean(dim=1, keepdim=True), contributions.mean(dim=0, keepdim=True)
        left = contributions - by_network - by_row + contributions.mean()
        row = float(left.square().sum()) / ((n - 1) * (rows - 1))
        return cls(max(float(by_network.var(correction=1)) - row / rows, 0.0), row)


@dataclass(frozen=True)
class Components:
    """Students, controls, and the variance D over rows of the difference between the groups."""

    students: Group
    controls: Group
    difference: float

    @classmethod
    def of(cls, students: Tensor, controls: Tensor) -> "Components":
        """Estimated from contributions float64 [n, R] and [m, R]; n, m, R >= 2."""
        groups = Group.of(students), Group.of(controls)
        between = float((students.mean(dim=0) - controls.mean(dim=0)).var(correction=1))
        noise = groups[0].row / len(students) + groups[1].row / len(controls)
        return cls(*groups, max(between - noise, 0.0))

    def finds(self, size: float, design: "Design", least: float = 0.0) -> bool:
        """Whether a difference of this size is found with 80 % power; `least` is the least half-width times R + 2."""
        parts = (
            ((self.students.training + self.students.row / design.rows) / design.students, design.students - 1.0),
            ((self.controls.training + self.controls.row / design.rows) / design.controls, design.controls - 1.0),
            (self.difference / design.rows, design.rows - 1.0),
        )
        error = math.sqrt(math.fsum(value for value, _ in parts))
        if error == 0.0:
            return least / (design.rows + 2) <= size
        freedom = error**4 / math.fsum(value**2 / freedom for value, freedom in parts)
        wide, narrow = _quantiles(freedom)
        return max(wide * error, least / (design.rows + 2)) + narrow * error <= size


@dataclass(frozen=True)
class Design:
    """Numbers of students, controls and labelled test rows."""

    students: int
    controls: int
    rows: int


def settled(verdict: Verdict, students: Tensor, controls: Tensor, least: float = 0.0) -> Verdict:
    """The verdict of several networks with `would_settle`, where it is open.

    `students` and `controls` are contributions [n, R] and [m, R]; `least` as in `Components.finds`.
    """
    now = Design(len(students), len(controls), students.shape[1])
    size = _size(verdict)
    if min(now.students, now.controls) < LEAST_REPEATS or size is None:
        return settled_by_rows(verdict, now.rows)
    components = Components.of(students, controls)
    repeats = _repeats(components, size, now, least)
    rows = _rows(lambda more: components.finds(size, replace(now, rows=more), least), now.rows)
    most = Design(max(MOST_REPEATS, now.students), max(MOST_REPEATS, now.controls), now.rows)
    together = _rows(lambda more: components.finds(size, replace(most, rows=more), least), now.rows)
    found = WouldSettle(size=size, repeats=repeats, rows=rows, because=_because(repeats, rows, together, now))
    return verdict.model_copy(update={"would_settle": found})


def settled_by_rows(verdict: Verdict, rows: int) -> Verdict:
    """The verdict of fewer than 3 of each on this many labelled test rows with `would_settle`, where it is open.

    The standard error is half the interval's width in normal quantiles, and falls with √rows. It has no training noise.
    """
    size = _size(verdict)
    if size is None or verdict.interval is None:
        return verdict
    low, high = verdict.interval
    needed = (1.0 + normal_quantile(1.0 - POWER) / normal_quantile(_TAIL)) * (high - low) / 2.0
    more_rows = _rows(lambda more: needed * math.sqrt(rows / more) <= size, rows)
    because = (
        f"With 80 % power, from the noise of {rows} test rows alone. The noise of training is not known below "
        f"{LEAST_REPEATS} repeats: a verdict that covers it needs as many."
    )
    found = WouldSettle(size=size, rows=more_rows, because=because)
    return verdict.model_copy(update={"would_settle": found})


def _quantiles(freedom: float) -> tuple[float, float]:
    """Student's t at the limit of an interval and at the power."""
    from scipy.special import stdtrit  # imported where it is used: the fork server imports this module

    return float(stdtrit(freedom, 1.0 - _TAIL)), float(stdtrit(freedom, POWER))


def _size(verdict: Verdict) -> float | None:
    """The size of the difference to find; None where the verdict is not open, or has no interval."""
    if verdict.verdict not in _OPEN or verdict.interval is None or verdict.difference is None:
        return None
    size = max(abs(verdict.difference), verdict.margin or 0.0)
    return size if size > 0.0 else None


def _repeats(components: Components, size: float, now: Design, least: float) -> int | None:
    for repeats in range(min(now.students, now.controls) + 1, MOST_REPEATS + 1):
        design = Design(max(repeats, now.students), max(repeats, now.controls), now.rows)
        if components.finds(size, design, least):
            return repeats
    return None


def _rows(enough: Callable[[int], bool], now: int) -> int | None:
    """The smallest number of rows above `now`, rounded up to two digits, that is enough."""
    rounded = [digits * 10**zeros for zeros in range(7) for digits in range(10, 100)]
    numbers = [number for number in rounded if now < number <= MOST_ROWS]
    at = bisect_left(numbers, True, key=enough)
    return numbers[at] if at < len(numbers) else None


def _because(repeats: int | None, rows: int | None, together: int | None, now: Design) -> str:
    parts = [
        f"With 80 % power, from the noise of {now.students} students, {now.controls} controls and {now.rows} test "
        "rows: rough, as few networks say little of the noise of training."
    ]
    if repeats is None:
        parts.append(f"{MOST_REPEATS} repeats, the most that a job has, are too few on {now.rows} test rows.")
    if rows is None:
        parts.append("More test rows are not enough: the noise of training of so few networks is too large.")
    if repeats is None and rows is None and together is not None:
        parts.append(f"{MOST_REPEATS} repeats on {together} test rows are.")
    return " ".join(parts)
