"""Validation and test splits with too few labels to measure with, and splits that files' names say."""

from collections.abc import Iterator
from math import sqrt

from app.contracts.problems import listed
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.splits import FileSplits, SplitName, split_in_name
from app.contracts.resources.statistics import DataWarning
from app.contracts.specs.supervision.metrics import CLASS_KINDS
from workers.engine.data.dataset import Dataset

ENOUGH = 20
_USES: dict[SplitName, str] = {
    "validation": "the epoch to export is chosen on it",
    "test": "the report measures on it",
}


def split_sizes(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """`small_split` for each target and split with labels, but fewer than ENOUGH.

    The half-width of a 95 % interval is 1.96 √(p (1 − p) / n) for an accuracy p, at most 0.98 / √n, and about
    1.96 / √(2 n) of the root mean square error of numbers.
    """
    for split, use in _USES.items():
        rows = dataset.splits.get(split)
        for name, column in dataset.targets.items() if rows is not None else ():
            assert rows is not None
            n = int(column.labelled[rows].sum())
            if column.kind == "teacher" or not 0 < n < ENOUGH:
                continue
            if column.kind in (*CLASS_KINDS, "multilabel"):
                interval = f"an accuracy has a 95 % interval of up to ± {98.0 / sqrt(n):.0f} percentage points"
            else:
                interval = f"a root mean square error has a 95 % interval of about ± {196.0 / sqrt(2 * n):.0f} %"
            yield DataWarning(
                code="small_split",
                message=f"the {split} split has {n} labels of `{name}`, expected {ENOUGH} or more, as {use}: with {n}, "
                f"{interval}. Give it a larger share in `splits`, or add labels",
                targets=(name,),
            )


def splits_by_name(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """`splits_by_name` where rows are in the splits that their files' names say, which a manifest need not ask for."""
    splits = manifest.splits
    if not isinstance(splits, FileSplits) or any(split_in_name(name) != each for name, each in splits.files.items()):
        return
    found = (
        f"{split} {listed(name for name, each in splits.files.items() if each == split)} ({len(rows)} rows)"
        for split, rows in dataset.splits.items()
    )
    yield DataWarning(
        code="splits_by_name",
        message=f"the rows are in the splits that the names of their files say, found {', '.join(found)}: where that "
        "is not meant, rename the files, or say `splits`, such as `fractions` of all rows together",
    )
