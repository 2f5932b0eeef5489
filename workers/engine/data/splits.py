"""Rows dealt to splits: by fractions from a seed, exact and alike on every machine, or by a column."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.manifests import ColumnSplits, FractionSplits, SplitName

ORDER: tuple[SplitName, ...] = ("train", "validation", "test")


def shares(rows: int, fractions: Mapping[SplitName, float]) -> dict[SplitName, int]:
    """Whole numbers of rows that sum to `rows`: largest remainders, ties to the earlier split."""
    total = sum(fractions.values())  # 1 but for rounding, which of many rows is more than one
    wanted = {name: rows * fractions.get(name, 0.0) / total for name in ORDER}
    found = {name: int(value) for name, value in wanted.items()}
    by_remainder = sorted(ORDER, key=lambda name: (found[name] - wanted[name], ORDER.index(name)))
    for name in by_remainder[: rows - sum(found.values())]:
        found[name] += 1
    return found


def _deal(rows: NDArray[np.int64], fractions: Mapping[SplitName, float]) -> dict[SplitName, NDArray[np.int64]]:
    counts = shares(len(rows), fractions)
    ends = np.cumsum([counts[name] for name in ORDER])[:-1]
    return dict(zip(ORDER, np.split(rows, ends), strict=True))


def by_fractions(splits: FractionSplits, rows: int, strata: NDArray[np.int64] | None) -> dict[SplitName, Tensor]:
    """Shuffle from the seed and deal; with `strata` (a class a row) each class is dealt by itself."""
    order = np.random.Generator(np.random.PCG64(splits.seed)).permutation(rows)
    if strata is None:
        dealt = _deal(order, splits.fractions)
    else:
        parts = [_deal(order[strata[order] == value], splits.fractions) for value in np.unique(strata)]
        dealt = {name: np.concatenate([part[name] for part in parts]) for name in ORDER}
    return _sorted(dealt)


def by_column(splits: ColumnSplits, values: NDArray[np.str_]) -> dict[SplitName, Tensor]:
    """The column says `train`, `validation` or `test`. Raises UserError `bad_split`."""
    if values.dtype.kind != "U" or values.ndim != 1:
        raise UserError("bad_split", f"`{splits.column}` must hold the words train, validation or test")
    strange = sorted(set(np.unique(values).tolist()) - set(ORDER))
    if strange:
        raise UserError("bad_split", f"`{splits.column}` holds {strange[:5]}: expected train, validation or test")
    return _sorted({name: np.flatnonzero(values == name) for name in ORDER})


def _sorted(dealt: Mapping[SplitName, NDArray[np.int64]]) -> dict[SplitName, Tensor]:
    found = {name: torch.from_numpy(np.sort(dealt[name]).astype(np.int64)) for name in ORDER if len(dealt[name])}
    if "train" not in found:
        raise UserError("empty_dataset", "the training split has no row")
    return found
