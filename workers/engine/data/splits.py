"""Train, validation and test splits: by fractions from a seed, identical on every machine, in order, or by a column."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.problems import UserError, listed
from app.contracts.resources.splits import ColumnSplits, FileSplits, FractionSplits, SplitName
from workers.engine.data.tables.groups import split_by_group

ORDER: tuple[SplitName, ...] = ("train", "validation", "test")


def split_sizes(rows: int, fractions: Mapping[SplitName, float]) -> dict[SplitName, int]:
    """Numbers of rows that sum to `rows`: largest remainders, ties to the earlier split."""
    total = sum(fractions.values())  # 1 up to rounding, which for many rows is more than one row
    exact = {name: rows * fractions.get(name, 0.0) / total for name in ORDER}
    sizes = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(ORDER, key=lambda name: (sizes[name] - exact[name], ORDER.index(name)))
    for name in by_remainder[: rows - sum(sizes.values())]:
        sizes[name] += 1
    return sizes


def _split(rows: NDArray[np.int64], fractions: Mapping[SplitName, float]) -> dict[SplitName, NDArray[np.int64]]:
    sizes = split_sizes(len(rows), fractions)
    ends = np.cumsum([sizes[name] for name in ORDER])[:-1]
    return dict(zip(ORDER, np.split(rows, ends), strict=True))


def split_by_fractions(
    splits: FractionSplits, rows: int, strata: NDArray[np.int64] | None, groups: NDArray[np.int64] | None = None
) -> dict[SplitName, Tensor]:
    """Shuffle from the seed and split; with `strata` (a class for each row) each class is split separately, with
    `groups` (a group for each row) no group is split. Without `shuffle` rows are split in their order.
    """
    if groups is not None:
        return _sorted(split_by_group(splits, groups, ORDER))
    if not splits.shuffle:
        return _sorted(_split(np.arange(rows), splits.fractions))
    order = np.random.Generator(np.random.PCG64(splits.seed)).permutation(rows)
    if strata is None:
        parts = _split(order, splits.fractions)
    else:
        by_class = [_split(order[strata[order] == value], splits.fractions) for value in np.unique(strata)]
        parts = {name: np.concatenate([part[name] for part in by_class]) for name in ORDER}
    return _sorted(parts)


def split_by_column(splits: ColumnSplits, values: NDArray[np.str_]) -> dict[SplitName, Tensor]:
    """Splits by a column of `train`, `validation` and `test`. Raises UserError `bad_split`."""
    if values.dtype.kind != "U" or values.ndim != 1:
        raise UserError("bad_split", f"`{splits.column}` must hold text: train, validation or test")
    values = np.char.strip(values)
    unknown = sorted(set(np.unique(values).tolist()) - set(ORDER))
    if unknown:
        raise UserError("bad_split", f"`{splits.column}` holds {unknown[:5]}: expected train, validation or test")
    return _sorted({name: np.flatnonzero(values == name) for name in ORDER})


def split_by_file(splits: FileSplits, rows: Mapping[str, int]) -> dict[SplitName, Tensor]:
    """Splits by files, whose numbers of rows are given by name, in order. Raises UserError `bad_split`."""
    if rows.keys() != splits.files.keys():
        raise UserError(
            "bad_split",
            f"expected the dataset's files in `splits.files`, {listed(rows) or 'of which there is one alone'}, found "
            f"{listed(splits.files)}: name each of them once",
        )
    files = np.repeat(np.arange(len(rows)), list(rows.values()))
    of_files = np.array([ORDER.index(splits.files[name]) for name in rows])[files]
    return _sorted({name: np.flatnonzero(of_files == place) for place, name in enumerate(ORDER)})


def _sorted(parts: Mapping[SplitName, NDArray[np.int64]]) -> dict[SplitName, Tensor]:
    splits = {name: torch.from_numpy(np.sort(parts[name]).astype(np.int64)) for name in ORDER if len(parts[name])}
    if "train" not in splits:
        raise UserError("empty_dataset", "the training split has no row: give it a share of the rows")
    return splits
