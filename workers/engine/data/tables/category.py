"""Inputs of categories: columns of text, integers or booleans as numbers."""

from collections.abc import Sequence, Set

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.splits import SplitName
from app.contracts.resources.statistics import ColumnCounts
from app.contracts.resources.tables import MOST_CATEGORIES, CategoryEncoding, CategoryInput, InputEncoding
from workers.engine.data.dataset import ColumnUse, InputRows, SplitRows
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.written import FileColumns, Written, printable
from workers.engine.data.rows.uploaded import CategoriesOfFile
from workers.engine.data.tables.keys import meanings, places_of
from workers.engine.data.tables.text import canonical, in_order, is_missing, label_text

MOST_NUMBERS = 65_536
"""Largest number of numbers in a row."""
MOST_CHARACTERS = 200
MOST_EXAMPLES = 5
"""How many unseen values are kept for a message."""


def read_categories(name: str, spec: CategoryInput, file: FileColumns, splits: SplitRows, nulls: Set[str]) -> InputRows:
    """Rows uint8 [N, Σ (k + 1)] for `one_hot`, float32 [N, columns] for `ordinal`, with what was encoded and counted.

    `nulls`: texts that mean a missing value in this file. Raises UserError `too_many_categories`, `no_category`,
    `shape_mismatch`.
    """
    columns = _columns(name, spec, file)
    unused = sorted(set(spec.categories) - set(columns))
    if unused:
        detail = f"`categories` of `{name}` names `{unused[0]}`, which is no column of it: correct it"
        raise UserError("missing_column", detail)
    places, categories, uses, means, total = [], [], {}, [], 0
    for column, (values, written) in columns.items():
        texts, inverse = _texts(values)
        given = spec.categories.get(column)
        found = given if given is not None else _categories(name, column, texts, inverse[splits["train"]], nulls)
        total += len(found)
        if total > MOST_CATEGORIES:
            raise _too_many(name, f"more than {MOST_CATEGORIES} over its columns")
        place = places_of(texts, found)
        places.append(place[inverse])
        categories.append(found)
        means.append(meanings(column, written, places[-1], found))
        uses[column] = _use(texts, inverse, place, found, splits, nulls)
    encoding = InputEncoding(columns=tuple(columns), encoding=spec.encoding, categories=tuple(categories))
    rows = encoded(places, [len(found) + 1 for found in categories], spec.encoding)
    as_file = CategoriesOfFile(tuple(columns.values()), tuple(means))
    return InputRows(rows, encoding, tuple(columns), uses, file=as_file)


def _columns(name: str, spec: CategoryInput, file: FileColumns) -> dict[str, tuple[Array, Written]]:
    """One column for each number of a key's rows: those of a key `k` with several are called `k.0`, `k.1`, …"""
    columns: dict[str, tuple[Array, Written]] = {}
    for key in spec.columns or (name,):
        array, written = file.arrays[key], file.written[key]
        if array.ndim > 2:
            raise UserError(
                "shape_mismatch", f"input `{name}`: `{key}` has rows of {array.ndim - 1} dimensions, 1 at most"
            )
        if array.size == len(array):
            columns[key] = array.reshape(len(array)), written.part(0)
        else:
            columns |= {f"{key}.{i}": (array[:, i], written.part(i)) for i in range(array.shape[1])}
    if len(columns) > MOST_NUMBERS:
        raise UserError(
            "shape_mismatch", f"input `{name}` has {len(columns)} columns, {MOST_NUMBERS} at most: name fewer"
        )
    return columns


def _texts(values: Array) -> tuple[list[str], NDArray[np.int64]]:
    """(distinct values as text, for each row its place among them). A missing value is the empty text."""
    unique, inverse = np.unique(values, return_inverse=True)
    texts = [canonical(label_text(value)) for value in unique.tolist()]
    return [printable(text)[:MOST_CHARACTERS] for text in texts], inverse.reshape(-1)


def _categories(
    name: str, column: str, texts: Sequence[str], used: NDArray[np.int64], nulls: Set[str]
) -> tuple[str, ...]:
    """The categories of the training rows, sorted: numbers by size, texts by their characters."""
    found = {texts[i] for i in np.unique(used).tolist() if not is_missing(texts[i], nulls)}
    if not found:
        raise UserError(
            "no_category",
            f"input `{name}`: the column `{column}` has no value in the training split: leave it out, or list its "
            "`categories`",
        )
    if len(found) > MOST_CATEGORIES:
        raise _too_many(name, f"{len(found)} in the column `{column}`")
    return tuple(in_order(found))


def _too_many(name: str, what: str) -> UserError:
    return UserError(
        "too_many_categories",
        f"input `{name}` has {what}, expected at most {MOST_CATEGORIES}: leave out columns that name single rows, read "
        'numbers as `"kind": "array"`, or list the frequent `categories`; others share one slot',
    )


def _use(
    texts: Sequence[str],
    inverse: NDArray[np.int64],
    places: NDArray[np.int64],
    categories: Sequence[str],
    splits: SplitRows,
    nulls: Set[str],
) -> ColumnUse:
    """What a column has beside its categories. `inverse` [N]: the place of each row's value among `texts`; `places`:
    that of each text among the categories.
    """
    outside = places == len(categories)
    missing = outside & np.array([is_missing(text, nulls) for text in texts])
    unseen = outside & ~missing
    counts: dict[SplitName, ColumnCounts] = {}
    for split, rows in splits.items():
        chosen = inverse[rows]
        counts[split] = ColumnCounts(missing=int(missing[chosen].sum()), unseen=int(unseen[chosen].sum()))
    used = set(places.tolist())
    return ColumnUse(
        counts,
        unseen=tuple(texts[i] for i in np.flatnonzero(unseen)[:MOST_EXAMPLES].tolist()),
        unused=tuple(name for i, name in enumerate(categories) if i not in used),
    )


def encoded(places: Sequence[NDArray[np.int64]], sizes: Sequence[int], encoding: CategoryEncoding | None) -> Tensor:
    """Rows of the places [N] of each column among so many slots: float32 [N, columns] for `ordinal`, else uint8 of one
    0 or 1 for each slot.
    """
    if encoding == "ordinal":
        return torch.from_numpy(np.stack(places, axis=1).astype(np.float32))
    return _one_hot(places, sizes)


def _one_hot(places: Sequence[NDArray[np.int64]], sizes: Sequence[int]) -> Tensor:
    rows = np.zeros((len(places[0]), sum(sizes)), dtype=np.uint8)
    start = 0
    for place, size in zip(places, sizes, strict=True):
        rows[np.arange(len(place)), start + place] = 1
        start += size
    return torch.from_numpy(rows)
