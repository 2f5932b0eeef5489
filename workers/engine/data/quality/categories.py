"""Columns of categories whose values are none of the categories, so that they share one slot."""

from collections.abc import Iterator

from app.contracts.problems import listed
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.splits import SplitName
from app.contracts.resources.statistics import DataWarning
from app.contracts.resources.tables import CategoryInput
from workers.engine.data.dataset import ColumnUse, Dataset

MAX_SHARE = 0.05
"""Largest share of unseen categories in a split that is not reported."""


def categories(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """`unseen_categories` of columns with more than MAX_SHARE of unseen values in a split, or with unseen values beside
    a listed category that no row has.
    """
    for name, spec in manifest.inputs.items():
        if not isinstance(spec, CategoryInput):
            continue
        for column, use in dataset.uses.get(name, {}).items():
            shares = {split: counts.unseen / max(1, len(dataset.splits[split])) for split, counts in use.counts.items()}
            if max(shares.values()) > MAX_SHARE or (use.unused and any(shares.values())):
                yield _warning(name, column, use, shares, is_listed=column in spec.categories)


def _warning(name: str, column: str, use: ColumnUse, shares: dict[SplitName, float], *, is_listed: bool) -> DataWarning:
    rows = [f"{use.counts[split].unseen} rows of {split} ({share:.1%})" for split, share in shares.items() if share]
    origin = "listed in the manifest" if is_listed else "of the training split"
    unused = f", and no row has the category {listed(use.unused)}" if use.unused else ""
    return DataWarning(
        code="unseen_categories",
        message=f"the column `{column}` of input `{name}` has values that are none of the categories {origin} "
        f"({listed(use.unseen, most=5)}) in {', '.join(rows)}{unused}: they share one slot and cannot be told apart. "
        + (
            "Write the values as `categories` has them, letter by letter, or list all"
            if is_listed
            else "Shuffle the split, or list all values in `categories`"
        ),
    )
