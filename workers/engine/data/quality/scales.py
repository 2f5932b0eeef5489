"""Inputs that a network would read unscaled, where the manifest says that they are not standardised."""

from collections.abc import Iterator
from math import prod

import numpy as np
import torch
from torch import Tensor

from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.statistics import DataWarning
from workers.engine.data.dataset import Dataset
from workers.engine.data.quality.columns import spaced
from workers.engine.data.transform import apply

MOST_APART = 10.0
"""Largest ratio of the largest numbers of a column and of the median column."""
LEAST, MOST = 0.3, 3.0
"""Root mean squares that networks with usual initial weights learn from."""
UNIT_ERROR = 1e-2
LARGEST_PIXEL = 255.0


def scales(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """`unscaled_inputs` of each input, as networks read it, whose columns differ in size or whose numbers are not
    of about 1.

    Standardised inputs and categories are left out; so are rows of length 1, such as embeddings, and numbers of
    categories, such as tokens. One-hot columns have numbers of size 1.
    """
    train = dataset.splits["train"].numpy()
    for name, raw in dataset.numbers.items():
        way, _ = dataset.standardization[name]
        transform = dataset.transforms[name]
        is_category = transform.encoding is not None and transform.encoding.categories is not None
        if way != "none" or is_category or len(train) == 0:
            continue
        rows = torch.from_numpy(spaced(train, prod(raw.shape[1:])))
        found = unscaled(apply(raw[rows], transform, torch.float64))
        if found is not None:
            yield DataWarning(
                code="unscaled_inputs",
                message=f"input `{name}` reaches networks with {found}, expected columns of like size and numbers "
                "of about 1, from which they learn better: leave `standardize` out, or set it to true, or set `scale`",
                inputs=(name,),
            )


def unscaled(x: Tensor) -> str | None:
    """What is unusual about the sizes of rows [n, k, …] float64, n > 0; None if nothing is.

    The largest number of one of the k columns (or channels) is over MOST_APART times that of the median one, the root
    mean square of all numbers is above MOST, or that of those that are not 0 is below LEAST: rows with many zeros, as
    one-hot columns and counts have, are no smaller for them.
    """
    sizes = x.abs().amax(dim=[0, *range(2, x.dim())])
    sizes = sizes[sizes > 0]
    if len(sizes) == 0 or _has_unit_rows(x) or _are_numbers_of_categories(x, sizes):
        return None
    apart = float(sizes.max() / np.median(sizes.numpy()))
    if apart > MOST_APART:
        return f"columns that differ in size, the largest number {apart:.3g} times that of the median column"
    size = float(x.square().mean().sqrt())
    if size > MOST:
        return f"a root mean square of {size:.3g}"
    small = float(x[x != 0].square().mean().sqrt())
    return f"a root mean square of {small:.3g}" if small < LEAST else None


def _has_unit_rows(x: Tensor) -> bool:
    lengths = x.flatten(1).norm(dim=1)
    return bool(((lengths - 1.0).abs() < UNIT_ERROR).double().mean() > 0.99)


def _are_numbers_of_categories(x: Tensor, sizes: Tensor) -> bool:
    """Whether flat rows are whole numbers from 0 on, of one kind, with some that no pixel has: tokens, for example."""
    whole = x.dim() == 2 and bool((x >= 0.0).all()) and bool((x == x.round()).all())
    alike = float(sizes.max()) <= 2.0 * float(sizes.min())
    return whole and alike and float(sizes.max()) > LARGEST_PIXEL
