"""Whether and how inputs are standardised where the manifest does not say.

Numbers of one kind, such as pixels, keep their relation by one mean and one deviation for all of them: on digits and
MNIST students are 0.7 and 1.6 points better than with one for each pixel. Columns of different kinds need one each:
on wine a student is at 32 % without them and at 96 % with them.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from workers.engine.data.formats.files.encoded import RawRows, parts_of, remembered
from workers.engine.data.rows.blocks import row_blocks

Standardization = Literal["elements", "all", "none"]
"""A mean and a deviation for each element of a row's first dimension, one for all numbers, or none."""
FEWEST_COLUMNS = 8
"""Fewer flat columns are taken to be of different kinds."""
SHARE_OF_LIKE = 0.5
"""Share of the columns that have the same largest size, from which on they are taken to be of one kind."""
MOST, LEAST = 1e29, 1e-29
"""Largest numbers outside of this range are left as they are."""
MOST_APART = 30.0
"""Ratio of the largest numbers of channels up to which they are taken to be of one kind."""


def chosen(raw: RawRows, train: Tensor | None = None) -> tuple[Standardization, str]:
    """(how rows are standardised, why), by the rows `train` (int64 [n]; None: all) of raw ones [N, k, …]."""
    train = torch.arange(len(raw)) if train is None else train
    if len(train) == 0:
        return "none", "there is no training row to measure"
    sizes = remembered(raw, "sizes", train, raw.shape[1], partial(_sizes, raw, train))
    largest = float(sizes.max())
    if largest > MOST or 0.0 < largest < LEAST:
        return "none", f"numbers up to {largest:.1e} have no mean and deviation that a manifest can say"
    if raw.dim() > 2:
        positive = sizes[sizes > 0]
        if len(positive) == 0 or float(positive.max() / positive.min()) <= MOST_APART:
            return "all", f"the {len(sizes)} channels have numbers of like size"
        return (
            "elements",
            f"the {len(sizes)} channels have numbers of different sizes, over {MOST_APART:.0f} times",
        )
    _, counts = torch.unique(sizes, return_counts=True)
    if len(sizes) >= FEWEST_COLUMNS and int(counts.max()) >= SHARE_OF_LIKE * len(sizes):
        return "all", f"{int(counts.max())} of {len(sizes)} columns have the same largest number, as pixels have"
    return "elements", f"the {len(sizes)} columns have ranges of their own"


def _sizes(raw: RawRows, rows: Tensor) -> Tensor:
    """The largest number, without its sign, for each element of a row's first dimension, float64 [k]."""
    sizes = torch.zeros(raw.shape[1], dtype=torch.float64)
    for block in parts_of(raw, row_blocks(raw, rows)):
        sizes = torch.maximum(sizes, block.abs().amax(dim=[0, *range(2, raw.dim())]).double())
    return sizes
