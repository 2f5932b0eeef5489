"""Does a model give the same outputs for a row whatever the other rows of the batch, their order and their number?

A teacher is run in fixed blocks and its outputs are stored by row: outputs that depend on neighbours, on chance or on
the size of the batch would be stored as if they were those of the row.
"""

from collections.abc import Callable, Mapping
from time import monotonic

import torch
from torch import Tensor

from app.contracts.problems import UserError

MAX_ROWS = 64
FEW_ROWS = 3
_ROWS_OF_A_FULL_CHECK = 10
RELATIVE = 2e-3
OF_SPREAD = 1e-3
"""Differences of float32 stay below RELATIVE of a number plus OF_SPREAD of the spread of the output's numbers; sums in
another order make some 1e-6.
"""
OF_SIZE = 1e-6
"""The same for outputs that are alike, relative to the largest number where that is below 1."""
QUANTIZED_OF_SPREAD = 0.2
"""The same for graphs that quantise activations while they run: the scale is that of the batch, by design."""
Predict = Callable[[Tensor], Mapping[str, Tensor]]
"""Rows [n, …] -> outputs [n, size] by name."""


def tolerance_of(operators: set[str]) -> float:
    """The share of an output's spread that may differ, for a graph of these operators."""
    return QUANTIZED_OF_SPREAD if any(name.startswith("DynamicQuantize") for name in operators) else OF_SPREAD


def check_consistency(
    predict: Predict, rows: Tensor, of_spread: float = OF_SPREAD, seconds: float = 1.0
) -> Mapping[str, Tensor]:
    """Run `rows` together and in reverse order, three of them, and one alone; returns the outputs of the first pass.

    At most MAX_ROWS of the rows are used, and fewer where more would take longer than about `seconds`; where even
    three are slow, the last two of three are run again in reverse order, and nothing else. Numbers that are not finite
    are not compared. Raises UserError `not_deterministic` or `depends_on_batch`.
    """
    begun = monotonic()
    few = predict(rows[:FEW_ROWS])
    if len(rows) < 2:
        return few
    affordable = _affordable(seconds, monotonic() - begun, len(few_rows(rows)))
    if affordable < _ROWS_OF_A_FULL_CHECK:
        comparison = _Comparison(predict, few_rows(rows), few, of_spread)
        last = slice(len(few_rows(rows)) - 2, None)
        begun = monotonic()
        comparison.check(few_rows(rows)[last].flip(0), last)
        affordable = _affordable(seconds, monotonic() - begun, 2)  # a first call takes longer than later ones
        if affordable < _ROWS_OF_A_FULL_CHECK:
            return few
    count = max(FEW_ROWS, min(MAX_ROWS, len(rows), (affordable - FEW_ROWS - 1) // 2))
    used = rows[:count]
    together = predict(used) if len(used) > FEW_ROWS else few
    comparison = _Comparison(predict, used, together, of_spread)
    comparison.check(used.flip(0), slice(None))
    comparison.check(used[:1], slice(0, 1))
    if len(used) > FEW_ROWS:
        comparison.compare(few, slice(0, FEW_ROWS))
    return together


def check_block(
    predict: Predict, rows: Tensor, block: Mapping[str, Tensor], few: Mapping[str, Tensor], of_spread: float
) -> None:
    """Compare the outputs `block` of all rows of a pass with those of its rows in small batches: `few`, the outputs of
    the first ones by themselves, and those of the last three, which are run here.

    Raises UserError `not_deterministic` or `depends_on_batch`.
    """
    comparison = _Comparison(predict, rows, block, of_spread)
    first = slice(0, len(next(iter(few.values()))))
    last = slice(max(0, len(rows) - FEW_ROWS), len(rows))
    for which, outputs in ((first, few), (last, predict(rows[last]))):
        comparison.compare(outputs, which)


def _affordable(seconds: float, taken: float, rows: int) -> int:
    """How many rows run in so many seconds, where `rows` took `taken`."""
    return int(seconds / max(taken / rows, 1e-9))


def few_rows(rows: Tensor) -> Tensor:
    """The first three rows."""
    return rows[:FEW_ROWS]


class _Comparison:
    """The outputs of rows together, against which other passes are compared."""

    def __init__(self, predict: Predict, rows: Tensor, together: Mapping[str, Tensor], of_spread: float) -> None:
        self._predict = predict
        self._rows = rows
        self._together = together
        self._of_spread = of_spread

    def check(self, rows: Tensor, which: slice) -> None:
        """Run `rows`, which are `which` of the first pass in reverse order, and compare."""
        outputs = {name: values.flip(0) for name, values in self._predict(rows).items()}
        self.compare(outputs, which)

    def compare(self, outputs: Mapping[str, Tensor], which: slice) -> None:
        """Compare outputs with those of the rows `which` of the first pass. Raises UserError."""
        for name, values in outputs.items():
            if self._differ(self._together[name], values, which):
                self._refuse(name)

    def _differ(self, whole: Tensor, values: Tensor, which: slice) -> bool:
        """Does any of `values` differ from that of the first pass by more than float32 makes?"""
        expected, found = whole[which].double(), values.double()
        known = expected.isfinite() & found.isfinite()
        finite = whole.double()[whole.isfinite()]
        if not bool(known.any()):
            return False
        spread = float(finite.max() - finite.min())
        size = min(1.0, float(finite.abs().max())) or 1.0
        allowed = RELATIVE * expected.abs() + self._of_spread * spread + OF_SIZE * size
        apart = torch.where(known, (expected - found).abs() - allowed, -1.0)
        return not bool((apart <= 0.0).all())

    def _refuse(self, name: str) -> None:
        # Messages name neither the size of the difference nor the batches: which rows are compared depends on the time
        # that they take, and a preflight foresees the job's error in the same words.
        again = self._predict(self._rows)
        if self._differ(self._together[name], again[name], slice(None)):
            raise UserError(
                "not_deterministic",
                f"output `{name}` differs between two calls with the same rows by more than float32 rounds: a "
                "random operator, or dropout that is still active. Export the model in evaluation mode "
                "(`model.eval()`)",
            )
        raise UserError(
            "depends_on_batch",
            f"output `{name}` of a row differs by more than float32 rounds where the row is given in another batch "
            "(other rows, another order or size): it depends on the other rows, such as by normalisation over the "
            "batch. Export the model in evaluation mode (`model.eval()`), with a dynamic batch size",
        )
