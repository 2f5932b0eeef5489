"""Row weights that change nothing, or that leave little of the training split."""

from collections.abc import Iterator

from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.statistics import DataWarning
from workers.engine.data.dataset import Dataset
from workers.engine.data.rows.weights import weight_statistics

FEW = 0.1
"""Effective sample size of the training split, as a share of its rows, below which weights are uneven. Weights that
balance a class of 5 % of the rows leave 0.19.
"""


def row_weights(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """`constant_row_weights` of weights that are equal in all training rows, `uneven_row_weights` of an effective
    sample size below a tenth of them.
    """
    train = dataset.splits["train"]
    for name, weights in dataset.weights.items():
        found = weight_statistics(weights, train)
        if found.minimum == found.maximum and found.rows > 1:
            yield DataWarning(
                code="constant_row_weights",
                message=f"the row weights `{name}` are {found.minimum:g} in all {found.rows} rows of the training "
                "split: expected weights that differ, as equal ones change nothing. Check the column",
            )
        elif found.effective < FEW * found.rows:
            yield DataWarning(
                code="uneven_row_weights",
                message=f"the row weights `{name}` of the {found.rows} training rows have an effective sample size of "
                f"{found.effective:.0f}: expected a tenth of the rows or more. A few rows outweigh the rest: cut the "
                "largest weights where that is not meant",
            )
