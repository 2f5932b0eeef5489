"""Checks that a teacher's numbers are what their manifest declares, whatever their source.

The same check is applied to models at inspection, to the blocks of every pass over real rows, and to dataset columns
of kind `teacher`. Rows with NaN are missing and not checked.

| declared | refused |
|---|---|
| class `probabilities` | a number outside 0 to 1, or a row that does not sum to 1 |
| class `log_probabilities` | the same of their exponentials |
| class `logits`, `energies` | every row has numbers from 0 to 1 that sum to 1 |
| multilabel `probabilities`, one probability of two classes | a number outside 0 to 1 |
| multilabel `logits`, one log-odds of two classes | all of many numbers are from 0 to 1 |
| map | the numbers of every pixel are from 0 to 1 and sum to 1: those of a softmax, where logits are expected |
| all | infinite numbers; values and vectors above 1e9 in the units of the target |
"""

from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.manifests import (
    ClassOutput,
    MapOutput,
    MultilabelOutput,
    OutputSpec,
    PositionOutput,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)

SLACK = 1e-3
"""Largest error of a probability and of a sum that should be 1, for numbers of float16 precision."""
ROUNDING_SLACK = 0.02
"""Largest error of the sum of declared probabilities: a table may have rounded them to two or three decimals."""
MIN_ROWS = 4
"""Fewer rows do not show that declared logits are probabilities."""
MIN_ROUNDED_ROWS = 20
"""From so many rows on, declared logits are also compared with rounded probabilities."""
MIN_LABELS = 32
"""Fewer numbers do not show that declared logits of labels are probabilities."""
MIN_SPREAD = 0.2
"""Declared logits of labels that differ less are not told from those of a model that hardly knows anything."""
MAX_VALUE = 1e30
_BLOCK = 1 << 22
"""Numbers that are converted to float64 at a time."""

Rows = NDArray[Any]


def check_meaning(name: str, spec: OutputSpec, values: Rows) -> None:
    """Check the numbers [n, size] of the output or columns `name` against what `spec` declares.

    Raises UserError `wrong_output` where they cannot be what is declared, and `not_finite`.
    """
    if isinstance(spec, PositionOutput):
        values = _of_positions(name, spec, values)
    rows = values[~np.isnan(values).any(axis=1)]
    if rows.size == 0:
        return
    if np.isinf(rows).any():
        row = _first(np.isinf(values).any(axis=1))
        raise UserError(
            "not_finite",
            f"`{name}` is infinite in row {row}, expected finite numbers: clip them "
            "before uploading, probabilities of exactly 0 to a small number before their logarithm is taken",
            row,
        )
    if isinstance(spec, ClassOutput) and spec.output == "logits" and rows.shape[1] == 2 and not rows[:, 0].any():
        rows = rows[:, 1:]  # the log-odds of the second class, beside the zero of the first
    match spec:
        case ClassOutput(output="logits" | "probabilities" as output) if rows.shape[1] == 1:
            _check_labels(name, MultilabelOutput(kind="multilabel", output=output), rows)
        case ClassOutput():
            _check_classes(name, spec, rows)
        case TokenClassOutput() | MapOutput():
            pass  # logits of any sign
        case MultilabelOutput():
            _check_labels(name, spec, rows)
        case ValueOutput() | VectorOutput():
            _check_numbers(name, spec, rows)
        case _:
            assert_never(spec)


def _first(mask: Any) -> int:
    return int(np.flatnonzero(mask)[0])


def _check_classes(name: str, spec: ClassOutput, rows: Rows) -> None:
    match spec.output:
        case "probabilities" | "log_probabilities":
            _check_distribution(name, spec.output, rows)
        case "logits" | "energies":
            slack = SLACK if len(rows) < MIN_ROUNDED_ROWS else ROUNDING_SLACK
            if len(rows) >= MIN_ROWS and _are_distributions(rows, slack) and not _equal_rows(rows):
                raise UserError(
                    "wrong_output",
                    f"`{name}` is declared as {spec.output}, expected numbers of any sign and sum, but every row is "
                    'positive and sums to 1: declare `"output": "probabilities"`, or softmax would be applied twice',
                )
        case _:
            assert_never(spec.output)


def _of_positions(name: str, spec: PositionOutput, values: Rows) -> Rows:
    """The numbers of all positions of each row, [n, size], after what is checked by position."""
    if isinstance(spec, MapOutput):
        _check_pixels(name, spec, values)
    return values.reshape(len(values), -1)


def _check_pixels(name: str, spec: MapOutput, values: Rows) -> None:
    """Values [n, pixels, classes], or [n, classes · pixels] as a graph gives them."""
    pixels = spec.shape[0] * spec.shape[1]
    by_pixel = values if values.ndim == 3 else values.reshape(len(values), -1, pixels).swapaxes(1, 2)
    rows = by_pixel.reshape(-1, by_pixel.shape[-1])
    if len(rows) >= MIN_ROWS and np.isfinite(rows).all() and _are_distributions(rows, SLACK) and not _equal_rows(rows):
        raise UserError(
            "wrong_output",
            f"`{name}` has logits for each pixel, expected numbers of any sign and sum, but those of every pixel are "
            "positive and sum to 1: leave the softmax out of the network, or it would be applied twice",
        )


def _check_distribution(name: str, declared: str, rows: Rows) -> None:
    """Blocks are converted to float64 one after another, so that many rows need no second copy in memory."""
    step = max(1, _BLOCK // rows.shape[1])
    for start in range(0, len(rows), step):
        block = rows[start : start + step].astype(np.float64)
        with np.errstate(over="ignore"):
            p = block if declared == "probabilities" else np.exp(block)
        sums = p.sum(axis=1)
        if p.min() < -SLACK or p.max() > 1.0 + SLACK:
            bad = block[(p < -SLACK) | (p > 1.0 + SLACK)][0]
            bounds = "0 to 1" if declared == "probabilities" else "minus infinity to 0"
            found = f"the number {bad:.4g}, outside {bounds}"
        elif np.abs(sums - 1.0).max() > ROUNDING_SLACK:
            found = f"a row whose probabilities sum to {sums[np.abs(sums - 1.0).argmax()]:.4g}"
        else:
            continue
        raise UserError(
            "wrong_output",
            f"`{name}` is declared as {declared}, expected rows of numbers from 0 to 1 that sum to 1"
            f"{'' if declared == 'probabilities' else ' after exp'}, found {found}: {_guess(declared, block)}",
        )


def _guess(declared: str, rows: Rows) -> str:
    """What the numbers may be instead, and what to do then."""
    if declared == "log_probabilities" and _are_distributions(rows, ROUNDING_SLACK):
        return 'are they probabilities? Declare `"output": "probabilities"`'
    if declared == "probabilities" and rows.max() <= 0.0 and _are_distributions(np.exp(rows), ROUNDING_SLACK):
        return 'are they log-probabilities? Declare `"output": "log_probabilities"`'
    if rows.min() >= 0.0 and np.abs(rows.sum(axis=1) - 100.0).max() < 15.0:
        return "are they percent? Divide them by 100"
    if rows.min() >= 0.0:
        return "divide every row by its sum, or, where they are scores before softmax, declare `logits`"
    return 'are they `logits`? Declare `"output": "logits"`'


def _are_distributions(rows: Rows, slack: float) -> bool:
    if rows.min() < -1e-6:
        return False
    return bool(np.abs(rows.sum(axis=1, dtype=np.float64) - 1.0).max() < slack)


def _equal_rows(rows: Rows) -> bool:
    return bool((rows == rows[0]).all())


def _check_labels(name: str, spec: MultilabelOutput, rows: Rows) -> None:
    low, high = float(rows.min()), float(rows.max())
    match spec.output:
        case "probabilities":
            if low < -SLACK or high > 1.0 + SLACK:
                percent = low >= 0.0 and 10.0 < high <= 100.0
                raise UserError(
                    "wrong_output",
                    f"`{name}` is declared as probabilities, expected numbers from 0 to 1, found {low:.4g} to "
                    f"{high:.4g}: {'are they percent? Divide them by 100' if percent else 'is it `logits`?'}",
                )
        case "logits":
            # As logits, numbers from 0 to 1 would be probabilities from 0.5 to 0.73 only: yes to every label.
            if rows.size >= MIN_LABELS and low >= 0.0 and high <= 1.0 and high - low > MIN_SPREAD:
                raise UserError(
                    "wrong_output",
                    f"`{name}` is declared as logits, expected numbers of any sign, but all are from 0 to 1: declare "
                    '`"output": "probabilities"`, or sigmoid would be applied twice',
                )
        case _:
            assert_never(spec.output)


def _check_numbers(name: str, spec: ValueOutput | VectorOutput, rows: Rows) -> None:
    mean, std = np.asarray(spec.mean or 0.0), np.asarray(spec.std or 1.0)
    ends = np.stack([rows.min(axis=0), rows.max(axis=0)]).astype(np.float64)
    if ends.shape[1] != mean.size and mean.size > 1:
        return  # another number of components, which is refused where sizes are compared
    largest = float(np.abs(ends * std + mean).max())
    if largest > MAX_VALUE:
        raise UserError(
            "wrong_output",
            f"`{name}` reaches {largest:.4g} in the units of its target, expected {MAX_VALUE:.0e} at most: use larger "
            "units, or check its `mean` and `std`",
        )
