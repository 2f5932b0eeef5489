"""Criteria on the validation losses of a training: is it still improving, does it memorise its rows?

A curve is a list of (step, loss) with losses relative to that of a constant prediction, which is 1 (`History.curve`).
1 − min loss is thus all that was learned. The thresholds of `still_improving` were measured on 412 runs on 14 tasks.
"""

from collections.abc import Sequence

Curve = Sequence[tuple[int, float]]
LEAST_EVALUATIONS = 8
"""Shorter curves show no trend."""
STILL = 0.005
"""Fires on 40 % of runs with too few steps and on 1 % of the others, with a rate that ends at 0."""
STILL_AT_CONSTANT_RATE = 0.02
"""Fires on 85 % of runs with too few steps and on 5 % of the others; below it noise of the last steps does."""
LOST = 0.2
FITTED = 0.5


def late_gain(curve: Curve) -> float:
    """(loss at 75 % of the steps − last loss) / (1 − min loss): the share of what was learned that the last quarter of
    the steps added. 0 where nothing was learned, and for fewer than LEAST_EVALUATIONS.
    """
    lowest = min((loss for _, loss in curve), default=1.0)
    if len(curve) < LEAST_EVALUATIONS or lowest >= 1.0:
        return 0.0
    end, last = curve[-1]
    before = [loss for step, loss in curve if step <= 0.75 * end]
    return (before[-1] - last) / (1.0 - lowest) if before else 0.0


def is_still_improving(curve: Curve, *, ends_at_zero: bool) -> bool:
    """Whether the lowest loss is in the last tenth of the steps and `late_gain` above the limit, which is lower for a
    learning rate that ends at 0.
    """
    if len(curve) < LEAST_EVALUATIONS:
        return False
    best = min(curve, key=lambda point: (point[1], -point[0]))[0]
    limit = STILL if ends_at_zero else STILL_AT_CONSTANT_RATE
    return best >= 0.9 * curve[-1][0] and late_gain(curve) > limit


def is_overfitting(curve: Curve, train: float | None) -> bool:
    """Whether last loss − min loss > LOST (1 − min loss), so that more of what was learned is lost again at the end,
    and the relative loss on training rows is below FITTED times the last one. Where validation rows were never learned
    the last loss is above 1. A loss that rises on training rows as well is a diverging training instead.
    """
    if train is None or len(curve) < LEAST_EVALUATIONS:
        return False
    lowest, last = min(loss for _, loss in curve), curve[-1][1]
    limit = lowest + LOST * (1.0 - lowest) if lowest < 1.0 else 1.0
    return last > limit and train < FITTED * last
