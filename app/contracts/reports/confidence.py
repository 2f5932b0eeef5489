"""The confidence level of the intervals in reports."""

from typing import Final

CONFIDENCE: Final = 0.975
"""Of two-sided intervals, and so of a verdict's word. A team that compares ten useless methods with the same controls
should rarely read `gain`: at 95 % it does in 10 to 15 % of cases
(`tests/architecture/decisions/engine/0122-repeats-while-undecided.md`).
"""
EARLIER: Final = 0.95
"""Of reports that do not name their level."""


def tail(confidence: float) -> float:
    """The probability above a two-sided interval: half of what it leaves out."""
    return (1.0 - confidence) / 2.0


def level_text(confidence: float | None) -> str:
    """The level as text, such as `97.5 %`; None is that of earlier reports."""
    return f"{100.0 * (EARLIER if confidence is None else confidence):g} %"
