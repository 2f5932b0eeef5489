"""Intervals and words of verdicts, corrected for the number of jobs that are compared.

Bonferroni's inequality (Dunn 1961): with a two-sided level of 1 - (1 - c) / m each, m intervals hold together in at
least a share c of cases, however they depend on each other. Dunnett's quantiles (1955) are smaller, and assume equal
variances and the correlation of a shared control alone; jobs share test rows too, and their variances differ.
"""

from typing import Final

from app.contracts.reports.confidence import EARLIER, tail
from app.contracts.reports.quantiles import normal_quantile, t_quantile
from app.contracts.reports.report import Verdict
from app.contracts.reports.verdict_words import VerdictWord

_OPEN: Final[dict[bool, VerdictWord]] = {True: "undecided", False: "inconclusive"}
_PROVISIONAL: Final[dict[VerdictWord, VerdictWord]] = {
    "gain": "provisional_gain",
    "loss": "provisional_loss",
    "inconclusive": "undecided",
}
"""The words of a single pair, for reports that have those of several."""


def simultaneous_interval(verdict: Verdict, comparisons: int) -> tuple[float, float] | None:
    """The verdict's interval with those of `comparisons` >= 1 jobs together at its level; None where it has none.

    Each side is multiplied by the ratio of the quantiles at 1 - tail / m and at 1 - tail: of Student's t with the
    verdict's degrees of freedom, which for a t interval is exact, or of the normal distribution, which for score and
    bootstrap intervals is an approximation. Differences of accuracies stay within ±1.
    """
    if verdict.interval is None or verdict.difference is None:
        return None
    above = tail(EARLIER if verdict.confidence is None else verdict.confidence)
    ratio = _quantile(verdict, above / comparisons) / _quantile(verdict, above)
    low, high = verdict.interval
    low -= (ratio - 1.0) * max(verdict.difference - low, 0.0)
    high += (ratio - 1.0) * max(high - verdict.difference, 0.0)
    return (max(low, -1.0), min(high, 1.0)) if verdict.metric == "accuracy" else (low, high)


def _quantile(verdict: Verdict, above: float) -> float:
    return normal_quantile(above) if verdict.freedom is None else t_quantile(verdict.freedom, above)


def word_of(verdict: Verdict) -> VerdictWord:
    """The verdict's word; of a single pair a provisional one, also in reports of versions that had none."""
    return _PROVISIONAL.get(verdict.verdict, verdict.verdict) if verdict.repeats == 1 else verdict.verdict


def corrected_word(verdict: Verdict, interval: tuple[float, float] | None) -> VerdictWord:
    """The word by the corrected interval: that of the verdict where it still holds, else that of an open one."""
    word, margin = word_of(verdict), verdict.margin or 0.0
    if interval is None:
        return word
    holds = {
        "gain": interval[0] > 0.0,
        "provisional_gain": interval[0] > 0.0,
        "loss": interval[1] < 0.0,
        "provisional_loss": interval[1] < 0.0,
        "no_gain": -margin <= interval[0] and interval[1] <= margin,
    }
    return word if holds.get(word, True) else _OPEN[verdict.repeats == 1]
