"""A model tried as it will be used: the same function for graphs and networks, rows of several ranges."""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Literal

from torch import Tensor

from app.contracts.problems import UserError
from workers.engine.evaluation.examples import MAX_ROW, RawModel
from workers.engine.teachers.consistency import OF_SPREAD, check_consistency

RowKind = Literal["normal", "positive", "bytes", "plain", "reference", "large", "negative"]
"""Standard normal numbers; positive ones; whole numbers from 0 to 255, as of images; zeros, ones and a ramp; the
reference rows of the manifest; numbers of the magnitude of a time or a price, and their negatives. The first and the
last two are rows after the transform, the others raw rows.
"""
AFTER_TRANSFORM: tuple[RowKind, ...] = ("normal", "positive", "large", "negative")
SHARE = 0.1
"""Share of the time of the inspection so far that the comparisons may take; three rows are always run."""
LEAST_SECONDS = 0.25
MAX_NUMBERS = 1 << 18
"""Maximum number of elements of a batch of more than three rows."""


class TrialFailedError(Exception):
    """A model gave no outputs for rows that it may not take."""


def rows_to_try(row_size: int) -> int:
    """How many rows fit into a batch of bounded memory: 3 to 64."""
    return max(3, min(64, MAX_NUMBERS // max(1, row_size)))


def try_out(
    model: RawModel,
    rows: Callable[[RowKind, int], Tensor],
    elapsed: float,
    of_spread: float = OF_SPREAD,
    main: RowKind = "normal",
) -> Mapping[str, Tensor]:
    """Run rows of several kinds together, apart and in another order; returns the outputs for plain raw rows.

    `rows` gives rows of a kind. `elapsed` seconds bound how many are used; the most are of kind `main`, which the model
    is known to take. Raises UserError `not_deterministic`, `depends_on_batch`.
    """
    if model.row_size > MAX_ROW:
        return {}
    end = monotonic() + max(LEAST_SECONDS, SHARE * elapsed)
    outputs: Mapping[str, Tensor] = {}
    kinds: tuple[RowKind, ...] = ("plain", main, "bytes")
    for kind in dict.fromkeys(kinds):
        left = end - monotonic()
        if kind != "plain" and left <= 0.0:
            break
        tried = rows(kind, rows_to_try(model.row_size) if kind == main else 3)
        try:
            found = check_consistency(run_of(model, kind), tried, of_spread, left / 2)
        except (TrialFailedError, UserError) as error:
            if kind == main and isinstance(error, TrialFailedError):
                raise UserError("depends_on_batch", f"it runs on some rows and not on others: {error}") from None
            if isinstance(error, UserError) and error.code != "not_whole_numbers":
                raise
            continue  # numbers that the model does not take, such as an index above the size of its table
        outputs = found if kind == "plain" else outputs
    return outputs


def run_of(model: RawModel, kind: RowKind) -> Callable[[Tensor], dict[str, Tensor]]:
    """How a model runs on rows of a kind: with its transform where they are raw."""
    return model.forward if kind in AFTER_TRANSFORM else model.predict
