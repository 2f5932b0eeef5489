"""Columns of a file as targets: validated, with missing labels marked."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.columns import columns_of
from app.contracts.resources.manifests import (
    ClassTarget,
    MultilabelTarget,
    TargetSpec,
    TeacherTarget,
    ValueTarget,
)
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.formats.common import Array
from workers.engine.data.quality.meaning import check_meaning
from workers.engine.data.quality.one_score import two_scores
from workers.engine.data.rows.precision import rounded
from workers.engine.data.tables.text import BOOLEANS, as_numbers, canonical, is_missing, label_text

MISSING = -1
MAX_CLASSES = 65_536


def _first_row(mask: object) -> int:
    return int(np.flatnonzero(np.asarray(mask))[0])


def _named_labels(name: str, raw: Array, names: Sequence[str]) -> tuple[NDArray[np.int64], bool]:
    """(labels, whether they are names): class names or, where no label is a name, indices into `classes`.

    Names take precedence, as they may be numbers: with the classes `-1` and `1` the label -1 is a class, not missing.
    """
    unique, inverse = np.unique(raw, return_inverse=True)
    labels = [label_text(value) for value in unique.tolist()]
    places = _name_places(names)
    found = [_place(label, places) for label in labels]
    by_name = any(place is not None for place in found)
    if not by_name:
        found = [_place(label, {str(i): i for i in range(len(names))}) for label in labels]
    unknown = [i for i, place in enumerate(found) if place is None and not _is_missing(labels[i])]
    if unknown:
        label, row = labels[unknown[0]][:60], _first_row(inverse == unknown[0])
        raise UserError(
            "label_out_of_range",
            f"`{name}` has the label `{label}` at row {row}: expected one of the {len(names)} "
            f"`classes`, or -1 where missing{_mixture(labels, names) if by_name else ''}",
            row,
        )
    return np.array([MISSING if place is None else place for place in found], dtype=np.int64)[inverse], by_name


def _name_places(names: Sequence[str]) -> dict[str, int]:
    """Places of the classes by name as written, and by its one spelling where that is not another class."""
    return {canonical(name): i for i, name in reversed(list(enumerate(names)))} | {
        name: i for i, name in enumerate(names)
    }


def _place(label: str, places: Mapping[str, int]) -> int | None:
    """The place of a label as written, else in its one spelling, else of a boolean as 0 or 1."""
    for text in (label, canonical(label), BOOLEANS.get(canonical(label), "")):
        if text in places:
            return places[text]
    return None


def _is_missing(label: str) -> bool:
    return is_missing(label) or canonical(label) == str(MISSING)


def _mixture(labels: Sequence[str], names: Sequence[str]) -> str:
    """What to say where some labels are names and the rest could be places."""
    known = _name_places(names)
    name = next(label for label in labels if _place(label, known) is not None)
    digits = {str(i) for i in range(len(names))}
    if not all(canonical(label) in digits or _is_missing(label) for label in labels):
        return ""
    return (
        f". Labels are read as names, since `{name[:60]}` is one: write the name of each class, or say the number of "
        f'classes where labels are places from 0 (`"classes": {len(names)}`)'
    )


def class_column(name: str, target: ClassTarget, raw: Array) -> TargetColumn:
    """Integers from 0, names, or one-hot rows [N, classes]; -1, null, NaN and "" are missing.

    Raises UserError `label_out_of_range`, `shape_mismatch`.
    """
    if isinstance(target.classes, int):
        names, size = None, target.classes
    else:
        names, size = target.classes, len(target.classes)
    if raw.ndim == 2 and raw.shape[1] == 1:
        raw = raw[:, 0]
    if raw.ndim == 2 and raw.shape[1] == size and raw.dtype.kind != "U":
        values = torch.from_numpy(_one_hot_labels(name, raw))
        return TargetColumn("class", size, values, values != MISSING, names)
    if raw.ndim != 1:
        raise UserError(
            "shape_mismatch",
            f"`{name}` needs one label a row, or {size} numbers of which one is 1, found shape {list(raw.shape)}: save "
            "the numbers of the classes, such as `scores.argmax(axis=1)`",
        )
    by_name = False
    if names is not None:
        labels, by_name = _named_labels(name, raw, names)
    elif raw.dtype.kind == "U":
        shown = ", ".join(f"`{text[:60]}`" for text in np.unique(raw)[:5].tolist())
        raise UserError(
            "label_out_of_range", f"`{name}` holds names, such as {shown}: list them in the manifest's `classes`"
        )
    else:
        labels = _integer_labels(name, raw, size)
    values = torch.from_numpy(labels)
    written = raw == (str(MISSING) if raw.dtype.kind == "U" else MISSING)
    minus_ones = int((np.asarray(written) & (labels == MISSING)).sum())
    return TargetColumn("class", size, values, values != MISSING, names, minus_ones=minus_ones, by_name=by_name)


def _one_hot_labels(name: str, raw: Array) -> NDArray[np.int64]:
    """The place of the 1 in each row; a row of NaN or of -1 is missing."""
    numbers = raw.astype(np.float64)
    missing = np.isnan(numbers).all(1) | (numbers == MISSING).all(1)
    good = ((numbers == 0.0) | (numbers == 1.0)).all(1) & ((numbers == 1.0).sum(1) == 1)
    if not (good | missing).all():
        row = _first_row(~(good | missing))
        raise UserError(
            "label_out_of_range",
            f"`{name}` has {raw.shape[1]} numbers a row, but not one 1 and else 0 at row {row}: save the number of its "
            'class, name a target of `"kind": "multilabel"` where several hold, or of `"kind": "teacher"` where '
            "they are probabilities",
            row,
        )
    return np.where(missing, MISSING, numbers.argmax(1)).astype(np.int64)


def _integer_labels(name: str, raw: Array, size: int) -> NDArray[np.int64]:
    numbers = np.nan_to_num(raw.astype(np.float64), nan=MISSING)
    bad = (numbers != np.floor(numbers)) | (numbers < MISSING) | (numbers >= size)
    if bad.any():
        row = _first_row(bad)
        raise UserError(
            "label_out_of_range",
            f"`{name}` is {raw[row]} at row {row}: expected 0 to {size - 1}, or -1 where missing"
            f"{_out_of_range_hint(numbers, size)}",
            row,
        )
    return numbers.astype(np.int64)


def _out_of_range_hint(numbers: NDArray[np.float64], size: int) -> str:
    """What to do about labels of another convention; empty where it is not seen."""
    known = numbers[np.isfinite(numbers) & (numbers != MISSING)]
    if len(known) == 0:
        return ""
    if (known != np.floor(known)).any():
        return ". Fractions are no classes: is it a target of kind `value`?"
    low, high = int(known.min()), int(known.max())
    names = ", ".join(f'"{i}"' for i in range(low, min(high, low + 2) + 1)) + (", …" if high > low + 2 else "")
    if low == 1 and high == size:
        return f'. Labels seem to start at 1: subtract 1 from them, or name the classes: `"classes": [{names}]`'
    if low >= 0 and high < MAX_CLASSES:
        return f'. Labels go from {low} to {high}: set `classes` to {high + 1}, or name them: `"classes": [{names}]`'
    return ". Number the classes from 0, or name them in `classes`"


def _numbers(name: str, columns: Sequence[str], arrays: Sequence[Array], *, exact: bool) -> Array:
    """[n, size] in float32; where `exact`, in float64 if float32 would round away the differences of the values."""
    flat = [array.reshape(len(array), -1) for array in as_numbers(name, columns, arrays, "class")]
    with np.errstate(over="ignore", invalid="ignore"):  # overflow gives infinity, which is checked below
        joined = np.concatenate(flat, axis=1)
        values: Array = rounded(joined) if exact else joined.astype(np.float32)
    if np.isinf(values).any():
        row = _first_row(np.isinf(values).any(1))
        raise UserError(
            "not_finite",
            f"`{name}` is infinite at row {row}, expected finite numbers: replace "
            "them, such as `np.maximum(values, -100)` for logarithms of probabilities of 0",
            row,
        )
    return values


def number_column(name: str, target: TargetSpec, arrays: Sequence[Array]) -> TargetColumn:
    """value, multilabel, vector and teacher targets: NaN is missing. Raises UserError.

    float32, or float64 for values and vectors whose differences float32 would round away.
    """
    meaning = target.predicts if isinstance(target, TeacherTarget) else target
    numbers = _numbers(name, columns_of(name, target), arrays, exact=meaning.kind in ("value", "vector"))
    size = numbers.shape[1]
    expected = 1 if isinstance(target, ValueTarget) else getattr(target, "size", None)
    if expected is not None and size != expected:
        raise UserError(
            "shape_mismatch", f"`{name}` has {size} numbers a row, expected {expected}: change `size` or `columns`"
        )
    missing = np.isnan(numbers)
    if isinstance(target, MultilabelTarget):
        bad: Array = ~missing & (numbers != 0.0) & (numbers != 1.0)
        if bad.any():
            row = _first_row(bad.any(1))
            raise UserError(
                "label_out_of_range",
                f"`{name}` must be 0, 1 or missing; row {row} is not: is it a `vector`?",
                row,
            )
        labelled = ~missing.all(1)
    else:
        labelled = ~missing.any(1)
    values = torch.from_numpy(numbers)
    if isinstance(target, ValueTarget):
        values = values[:, 0].contiguous()
    predicts = target.predicts if isinstance(target, TeacherTarget) else None
    if predicts is not None:
        check_meaning(name, predicts, numbers)
        values = two_scores(predicts, values)
        size = values.shape[1]
    return TargetColumn(target.kind, size, values, torch.from_numpy(labelled), None, predicts)
