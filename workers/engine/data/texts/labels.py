"""Labels for each token of a row, in the places of the tokens."""

from collections.abc import Mapping
from itertools import chain
from typing import Any, Final

import numpy as np
import torch

from app.contracts.problems import UserError
from app.contracts.resources.inputs.tagging import IGNORED, TokenClassTarget
from workers.engine.data.dataset import PADDING, TargetColumn
from workers.engine.data.formats.text_column import ListColumn
from workers.engine.data.texts.places import TokenPlaces

_MISSING: Final = -1


def token_labels(name: str, target: TokenClassTarget, column: ListColumn, places: TokenPlaces) -> TargetColumn:
    """The labels of all rows, int32 [N, width]: -1 where a token has none, `PADDING` where there is no token.

    Raises UserError `label_out_of_range`, `ragged` with the first bad row.
    """
    names = target.classes if not isinstance(target.classes, int) else None
    size = target.classes if isinstance(target.classes, int) else len(target.classes)
    by_name = names is not None and _has_names(column)
    values = np.where(places.is_token(), _MISSING, PADDING).astype(np.int32)
    known = {each: i for i, each in enumerate(names)} if names is not None and by_name else {}
    for (first, rows), starts in zip(column.blocks(), _starts(column, places), strict=True):
        for i, labels in enumerate(rows):
            if labels is None:
                continue
            row, start, count = first + i, starts[i], int(places.counts[first + i])
            if len(labels) > count and all(_is_missing(each) for each in labels[count:]):
                labels = labels[:count]  # rows of an array are as long as the longest one
            if len(labels) != count:
                raise UserError(
                    "ragged",
                    f"`{name}` has {len(labels)} labels at row {row}, expected {count}, one for each token or word: "
                    "write -100 or null where there is no label",
                    row,
                )
            found = np.array([_place(name, row, each, size, known, by_name) for each in labels], np.int32)
            at = places.places[start : start + count]
            values[row, at[at >= 0]] = found[at >= 0]
    kept = torch.from_numpy(values)
    return TargetColumn("token_class", size, kept, (kept >= 0).any(1), names, by_name=by_name)


def _starts(column: ListColumn, places: TokenPlaces) -> list[list[int]]:
    """The first entry of each row, by block."""
    starts = places.starts
    return [starts[first : first + len(rows)].tolist() for first, rows in column.blocks()]


def _has_names(column: ListColumn) -> bool:
    return any(
        isinstance(each, str) and each
        for _, rows in column.blocks()
        for each in chain.from_iterable(filter(None, rows))
    )


def _is_missing(label: Any) -> bool:
    return label is None or label == "" or (type(label) is int and label in IGNORED)


def _place(name: str, row: int, label: Any, size: int, known: Mapping[str, int], by_name: bool) -> int:
    """The class of a label; -1 where it is missing."""
    if _is_missing(label):
        return _MISSING
    if by_name and isinstance(label, str) and label in known:
        return known[label]
    if not by_name and type(label) is int and 0 <= label < size:
        return label
    expected = f"one of the {size} `classes`" if by_name else f"a whole number from 0 to {size - 1}"
    found = f"`{str(label)[:60]}`" if isinstance(label, str | int | float) else f"a {type(label).__name__}"
    names = ": list the names in `classes`" if isinstance(label, str) and not by_name else ""
    raise UserError(
        "label_out_of_range",
        f"`{name}` has the label {found} at row {row}: expected {expected}, or -100 or null where there is none{names}",
        row,
    )
