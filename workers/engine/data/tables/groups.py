"""Splits in which rows of one group (a patient, a page, a speaker) stay together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.splits import FractionSplits, SplitName
from workers.engine.data.formats.common import Array
from workers.engine.data.tables.text import canonical, in_order, is_missing, label_text

MOST_DIFFERENCE = 0.1
"""Largest difference of a split's share of the rows from its fraction."""


def groups_of(column: str, values: Array) -> NDArray[np.int64]:
    """The group of each row, as a number. Raises UserError `bad_split` where a row has none."""
    if values.size != len(values):
        raise UserError(
            "bad_split", f"`{column}` must hold one group a row, found shape {list(values.shape)}: name another"
        )
    unique, inverse = np.unique(values.reshape(len(values)), return_inverse=True)
    texts = [canonical(label_text(value)) for value in unique.tolist()]
    missing = [i for i, text in enumerate(texts) if is_missing(text)]
    if missing:
        row = int(np.flatnonzero(inverse == missing[0])[0])
        raise UserError(
            "bad_split", f"`{column}` has no group at row {row}: give every row one, such as a number of its own", row
        )
    numbers = {text: i for i, text in enumerate(in_order(set(texts)))}
    return np.array([numbers[text] for text in texts], dtype=np.int64)[inverse]


def split_by_group(
    splits: FractionSplits, groups: NDArray[np.int64], order: Sequence[SplitName]
) -> dict[SplitName, NDArray[np.int64]]:
    """Groups in random order (from the seed), each to the split that lacks most rows; where that misses the fractions,
    the largest groups first. Raises UserError `bad_split` where no split comes near its fraction.
    """
    sizes = np.bincount(groups)
    shuffled = np.random.Generator(np.random.PCG64(splits.seed)).permutation(len(sizes))
    wanted = np.array([splits.fractions.get(name, 0.0) for name in order])
    wanted /= wanted.sum()
    for sequence in (shuffled, shuffled[np.argsort(-sizes[shuffled], kind="stable")]):
        chosen, filled = _dealt(sequence, sizes, wanted)
        shares = filled / len(groups)
        if np.abs(shares - wanted).max() <= MOST_DIFFERENCE and not ((filled == 0) & (wanted > 0)).any():
            return {name: np.flatnonzero(chosen[groups] == i) for i, name in enumerate(order)}
    found = ", ".join(f"{name} {share:.2g}" for name, share in zip(order, shares, strict=True))
    raise UserError(
        "bad_split",
        f"`{splits.group}` has {len(sizes)} groups, the largest of {int(sizes.max())} rows of {len(groups)}: the "
        f"nearest to the `fractions` is {found}. Choose fractions near these or finer groups, or assign rows and "
        'name the column that says so: `"splits": {"column": "split"}`',
    )


def _dealt(
    sequence: NDArray[np.int64], sizes: NDArray[np.int64], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(the split of each group, the rows of each split). A tie goes to the earlier split."""
    chosen, filled = np.zeros(len(sizes), np.int64), np.zeros(len(wanted))
    needed = wanted * sizes.sum()
    for group in sequence.tolist():
        split = int(np.argmax(np.where(wanted > 0, needed - filled, -np.inf)))
        chosen[group] = split
        filled[split] += sizes[group]
    return chosen, filled
