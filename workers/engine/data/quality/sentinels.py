"""Numbers that stand for a missing value, such as -999: repeated, and far outside all others."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import listed
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.statistics import DataWarning
from workers.engine.data.dataset import Dataset
from workers.engine.data.quality.columns import InputColumns, input_columns, sample_note, spaced

CUSTOMARY = frozenset(
    sign * number for sign in (1.0, -1.0) for number in (99, 999, 9999, 99999, 999999, 9999999, 32767, 65535, 1e10)
) | {-32768.0, -2147483648.0, 2147483647.0}
"""Codes of missing values in many files: a smaller distance is enough for them."""
MIN_REPEATS = 3
MIN_DISTINCT = 10
"""A column needs more different other numbers: among few, such as 0 and 1, nothing is far outside."""
DISTANCE, CUSTOMARY_DISTANCE = 1.0, 0.25
"""Distance to the nearest other number, in units of the range of the others."""


def sentinel_of(values: NDArray[np.float64]) -> tuple[float, int] | None:
    """(number, how often) of the smallest or largest of [n] finite numbers if it stands apart; None if neither does."""
    for end in (float(values.max()), float(values.min())) if len(values) else ():
        others = values[values != end]
        count = len(values) - len(others)
        if count < MIN_REPEATS or len(others) == 0:
            continue
        low, high = float(others.min()), float(others.max())
        needed = CUSTOMARY_DISTANCE if end in CUSTOMARY else DISTANCE
        distance = min(abs(end - low), abs(end - high))
        if distance <= needed * (high - low) or high == low:
            continue
        if len(np.unique(others)) > MIN_DISTINCT:
            return end, count
    return None


def sentinels(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """`sentinel_values` of value targets, and of the columns of flat inputs."""
    for name, column in dataset.targets.items():
        if column.kind == "value":
            values = column.values[column.labelled].double().numpy()
            found = sentinel_of(values[spaced(np.arange(len(values)), 1)])
            if found is not None:
                yield _warning(f"`{name}` is {found[0]:.10g} in {found[1]} rows", "label", (name,))
    for inputs in input_columns(dataset, manifest):
        if not inputs.flat or inputs.values.dtype == np.uint8:
            continue
        rows = spaced(np.arange(dataset.rows), len(inputs.names))
        values = inputs.at(rows)
        suspects = np.flatnonzero(_may_stand_apart(values))
        found_at = {int(i): found for i in suspects if (found := sentinel_of(values[:, i])) is not None}
        marks = {inputs.names[i]: found for i, found in found_at.items() if not _is_fill(inputs, i, found[0])}
        if marks:
            name, (number, count) = next(iter(marks.items()))
            more = f", and the same in {listed(list(marks)[1:])}" if len(marks) > 1 else ""
            note = sample_note(len(rows), dataset.rows)
            yield _warning(f"the input column `{name}` is {number:.10g} in {count} rows{note}{more}", "value", ())


def _is_fill(inputs: InputColumns, column: int, number: float) -> bool:
    """Whether the number is what the reading put in place of missing ones."""
    return inputs.fill is not None and column < len(inputs.fill) and inputs.fill[column] == number


def _may_stand_apart(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Bool [columns]: whether the smallest or largest number is repeated, found without sorting."""
    highs, lows = (values == values.max(axis=0)).sum(axis=0), (values == values.min(axis=0)).sum(axis=0)
    result: NDArray[np.bool_] = np.maximum(highs, lows) >= MIN_REPEATS
    return result


def _warning(found: str, what: str, targets: tuple[str, ...]) -> DataWarning:
    return DataWarning(
        code="sentinel_values",
        message=f"{found}, far outside all others: if it stands for a missing {what}, write null (NaN in npz) instead, "
        "otherwise it is learned as a number",
        targets=targets,
    )
