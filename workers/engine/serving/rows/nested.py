"""Nested lists of JSON as arrays."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from app.contracts.problems import Problem
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.npz import MAX_DIMENSIONS
from workers.engine.serving.rows.errors import Place, RowErrors, at, kind_of
from workers.engine.serving.rows.forms import InputForm
from workers.engine.serving.rows.numbers import category_text


def numbers_of(values: Sequence[Any], form: InputForm, place: Place, *, nullable: bool) -> Array:
    """Nested lists of numbers [n, …]; null is NaN where `nullable`. Raises RowErrors `ragged` or `wrong_type`."""
    fast = _as_array(values)
    if fast is not None:
        return fast
    found: list[float | int] = []
    shape = _shape(values, place)
    wrong: list[Problem] = []
    whole = True
    for index, value in _walked(values, shape, place, ()):
        if value is None and nullable:
            value = float("nan")
        if not isinstance(value, int | float) or (isinstance(value, bool) and form.dtype != "bool"):
            detail = f"expected a number for `{form.name}`, found {kind_of(value)}: send numbers"
            wrong.append(Problem(pointer=place(index), code="wrong_type", detail=detail))
            continue
        whole = whole and isinstance(value, int) and -(2**63) <= value < 2**63
        found.append(value)
    if wrong:
        raise RowErrors(wrong)
    try:
        return np.array(found, dtype=np.int64 if whole else np.float64).reshape(shape)
    except OverflowError:
        raise at(place(()), "not_finite", f"a number for `{form.name}` is beyond float64: use larger units") from None


def _as_array(values: Sequence[Any]) -> Array | None:
    """The whole array where nothing but numbers is in it. Of booleans numpy would make numbers, and of text an array
    each of whose elements takes as much memory as the longest text.
    """
    if not _types(values) <= {int, float}:
        return None
    try:
        array = np.array(values)
    except (ValueError, OverflowError):
        return None
    return array if array.dtype.kind in "iuf" else None


def _types(values: Sequence[Any]) -> set[type]:
    """The types within lists of lists, without a call of Python for each value."""
    level, found = values, set(map(type, values))
    while found == {list}:
        level = list(chain.from_iterable(level))
        found = set(map(type, level))
    return found


def texts_of(values: Sequence[Any], form: InputForm, place: Place) -> tuple[list[str], tuple[int, ...]]:
    """(categories as text, row by row, the shape of the nested lists). Raises RowErrors `ragged` or `wrong_type`."""
    shape = _shape(values, place)
    found: list[str] = []
    wrong: list[Problem] = []
    detail = f"expected text, a number, a boolean or null for `{form.name}`: send the category"
    for index, value in _walked(values, shape, place, ()):
        text = category_text(value)
        if text is None:
            wrong.append(Problem(pointer=place(index), code="wrong_type", detail=detail))
        else:
            found.append(text)
    if wrong:
        raise RowErrors(wrong)
    return found, shape


def _shape(values: Sequence[Any], place: Place) -> tuple[int, ...]:
    """The shape of the first row and of the rows around it."""
    shape: tuple[int, ...] = (len(values),)
    inner: Any = values[0] if len(values) else None
    while isinstance(inner, list):
        shape += (len(inner),)
        if not inner:
            raise at(place((0,)), "shape_mismatch", "expected rows of numbers, found an empty list: send whole rows")
        if len(shape) > MAX_DIMENSIONS:
            raise at(
                place((0,)), "shape_mismatch", f"expected at most {MAX_DIMENSIONS} levels of lists: send whole rows"
            )
        inner = inner[0]
    return shape


def _walked(
    values: Sequence[Any], shape: tuple[int, ...], place: Place, index: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Every value and where it is. Raises RowErrors `ragged` where a list is not of the shape."""
    if len(values) != shape[0]:
        detail = f"expected {shape[0]} values, as in the first row, found {len(values)}: send rows of one shape"
        raise at(place(index), "ragged", detail)
    for i, value in enumerate(values):
        if len(shape) > 1:
            if not isinstance(value, list):
                raise at(place((*index, i)), "ragged", f"expected a list of {shape[1]}: send rows of one shape")
            yield from _walked(value, shape[1:], place, (*index, i))
        elif isinstance(value, list):
            raise at(place((*index, i)), "ragged", "expected a number, found a list: send rows of one shape")
        else:
            yield (*index, i), value
