"""Input columns that give the answer away: linear in a value, or separating all classes, by themselves.

In the rows of a smooth series, a value is nearly linear in the one before it. So a column must be closer to a value
than the value is to that of the next row.
"""

from collections.abc import Iterator
from math import lgamma, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import listed
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.statistics import DataWarning
from workers.engine.data.dataset import Dataset, TargetColumn
from workers.engine.data.quality.columns import InputColumns, input_columns, sample_note, spaced

MIN_ROWS = 20
CORRELATION = 0.999
OF_STEP = 0.1
"""Largest error of a column that is reported, relative to the difference of values from row to row."""
MAX_CLASSES = 64
LOG_CHANCE = log(1e-6)
"""Separations that are likelier than this for columns without any relation to the labels are not reported."""

Floats = NDArray[np.float64]


def predictors(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """`input_predicts_target` for value, class and multilabel targets."""
    for inputs in input_columns(dataset, manifest):
        for name, column in dataset.targets.items():
            if column.kind not in ("value", "class", "multilabel") or column.size > MAX_CLASSES:
                continue
            labelled = np.flatnonzero(column.labelled.numpy())
            rows = spaced(labelled, len(inputs.names))
            if len(rows) < MIN_ROWS:
                continue
            found = _found(inputs, column, rows)
            if found:
                how = (
                    f"a correlation above {CORRELATION} with"
                    if column.kind == "value"
                    else "thresholds that separate all classes of"
                    if column.kind == "class"
                    else "a threshold that separates a label of"
                )
                yield DataWarning(
                    code="input_predicts_target",
                    message=f"the input column {listed(found)} alone has {how} `{name}`"
                    f"{sample_note(len(rows), len(labelled))}: expected columns that are known before the answer is. "
                    "If it was made from the target, leave it out of `columns`; an earlier value of a series is fine",
                    targets=(name,),
                )


def _found(inputs: InputColumns, column: TargetColumn, rows: NDArray[np.int64]) -> list[str]:
    x, y = inputs.at(rows), column.values.numpy()[rows]
    chosen: NDArray[np.bool_]
    if column.kind == "value":
        correlations = _correlations(x, y.astype(np.float64))
        chosen = (np.abs(correlations) > CORRELATION) & (_errors(correlations, y) < OF_STEP * _step(column))
    elif column.kind == "class":
        chosen = _separating(x, y)
    else:
        chosen = np.zeros(x.shape[1], bool)
        for labels in y.T:
            known = ~np.isnan(labels)
            chosen |= _separating(x[known], labels[known].astype(np.int64))
    return [inputs.names[i] for i in np.flatnonzero(chosen)]


def _correlations(x: Floats, y: Floats) -> Floats:
    """Pearson's r of each column of [n, columns] with [n]; 0 for constants."""
    x, y = x - x.mean(axis=0), y - y.mean()
    norms = np.sqrt((x * x).sum(axis=0) * (y * y).sum())
    return np.asarray(np.where(norms > 0.0, (y @ x) / np.where(norms > 0.0, norms, 1.0), 0.0))


def _errors(correlations: Floats, y: NDArray[Any]) -> Floats:
    """Root mean square errors of the linear fits of [n] by columns of these correlations: σ √(1 − r²)."""
    return np.asarray(y.astype(np.float64).std() * np.sqrt(np.maximum(0.0, 1.0 - correlations**2)))


def _step(column: TargetColumn) -> float:
    """Root mean square difference of the labelled values of neighbouring rows in the file."""
    values = column.values[column.labelled].double()
    return float(values.diff().square().mean().sqrt())


def _separating(x: Floats, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Bool [columns]: whether the ranges of the classes are disjoint in the column."""
    none = np.zeros(x.shape[1], bool)
    classes, counts = np.unique(labels, return_counts=True)
    chance = lgamma(len(classes) + 1) + sum(lgamma(n + 1) for n in counts) - lgamma(len(labels) + 1)
    if len(classes) < 2 or chance + log(x.shape[1]) > LOG_CHANCE:
        return none
    groups = [x[labels == each] for each in classes]
    lows = np.stack([group.min(axis=0) for group in groups])
    highs = np.stack([group.max(axis=0) for group in groups])
    order = np.argsort(lows, axis=0)
    lows, highs = np.take_along_axis(lows, order, axis=0), np.take_along_axis(highs, order, axis=0)
    return np.asarray((highs[:-1] < lows[1:]).all(axis=0), dtype=bool)
