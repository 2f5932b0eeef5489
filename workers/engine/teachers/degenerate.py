"""Teachers that say the same of every row: they teach nothing, and no label is needed to see it."""

from typing import assert_never

import torch
from torch import Tensor

from app.contracts.resources.manifests import (
    ClassOutput,
    MapOutput,
    MultilabelOutput,
    OutputSpec,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)
from workers.engine.losses.softmax import label_log_odds, log_probabilities

MIN_ROWS = 8
"""Fewer rows may be alike."""
SATURATED = 0.999
CONSTANT = 8
"""Largest spread of a number, in units of the last place of its type, that is only rounding."""


def degenerate(values: Tensor, spec: OutputSpec) -> str | None:
    """What is wrong with outputs [n, size] that are the same for all rows; None where they differ."""
    if len(values) < MIN_ROWS:
        return None
    spread = values.amax(0) - values.amin(0)
    if bool((spread <= CONSTANT * torch.finfo(values.dtype).eps * values.abs().amax(0)).all()):
        return f"gives the same output for all of {len(values)} rows, expected outputs that differ"
    match spec:
        case ClassOutput():
            log_p = log_probabilities(values.double(), spec)
            largest, predicted = log_p.max(1)
            if bool((predicted == predicted[0]).all()) and float(largest.exp().min()) > SATURATED:
                return (
                    f"predicts class {int(predicted[0])} with a probability above {SATURATED} for all of {len(values)} "
                    "rows, expected answers that differ"
                )
        case MultilabelOutput():
            p = torch.sigmoid(label_log_odds(values.double(), spec))
            same = bool(((p > 0.5) == (p[0] > 0.5)).all())
            if same and float((p - 0.5).abs().min()) > SATURATED - 0.5:
                return (
                    f"gives every label the same answer with a probability above {SATURATED} for all of {len(values)} "
                    "rows, expected answers that differ"
                )
        case TokenClassOutput() | MapOutput() | ValueOutput() | VectorOutput():
            pass
        case _:
            assert_never(spec)
    return None
