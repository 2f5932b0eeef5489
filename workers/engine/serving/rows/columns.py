"""Columns of a table as the inputs of a model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from app.contracts.problems import Problem
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.resources.tables import CsvOptions
from workers.engine.data.formats.common import Array
from workers.engine.data.tables.text import label_text
from workers.engine.serving.rows.errors import MOST_PROBLEMS, RowErrors, at, kind_of, together
from workers.engine.serving.rows.forms import InputForm
from workers.engine.serving.rows.ids import check_ids, ids_of_lists, texts_of_lists, words_of_lists
from workers.engine.serving.rows.nested import numbers_of
from workers.engine.serving.rows.numbers import as_categories, as_numbers, category_text, check_shape, number

Columns = Mapping[str, Array | Sequence[Any]]
"""Each column [n, …] as a reader gives it, or as values of JSON."""
ColumnPlace = Callable[[str, tuple[int, ...]], str]
"""(column, (row, place in the row)) -> pointer."""


class Needed(NamedTuple):
    """The columns that inputs are read from: all, those of categories, those of texts."""

    all: set[str]
    categories: set[str]
    texts: set[str]


def needed(forms: Mapping[str, InputForm]) -> Needed:
    """The columns of these inputs."""
    return Needed(
        {column for form in forms.values() for column in form.columns},
        {column for form in forms.values() if form.categories for column in form.columns},
        {column for form in forms.values() if form.tokens is not None for column in form.columns},
    )


def inputs_of(
    forms: Mapping[str, InputForm], columns: Columns, place: ColumnPlace, written: CsvOptions | None
) -> dict[str, Array]:
    """The inputs [n, *shape]. `written`: how numbers are written as text, as in a csv, where they may be."""
    inputs = together(forms.values(), lambda form: _input(form, columns, place, written))
    return dict(zip(forms, inputs, strict=True))


def _input(form: InputForm, columns: Columns, place: ColumnPlace, written: CsvOptions | None) -> Array:
    if form.categories:
        return _categories(form, columns, place)
    if form.tokens is not None:
        return _texts_or_ids(form, form.tokens, columns, place)
    arrays = together(form.columns, lambda column: _numbers(column, columns[column], form, place, written))
    if len(arrays) > 1:
        for column, array in zip(form.columns, arrays, strict=True):
            if array.ndim > 1:
                raise at(place(column, ()), "shape_mismatch", f"expected one number a row for `{column}`: send one")
        stacked = np.stack(arrays, axis=1)
        check_shape(form, stacked.shape[1:], place(form.columns[0], ()))
        return as_numbers(form, stacked, lambda index: place(form.columns[index[1]], index[:1]))
    (array,), (column,) = arrays, form.columns
    sides = array.ndim
    if array.ndim == 1 and form.shape == (1,):
        array = array[:, None]
    check_shape(form, array.shape[1:], place(column, ()))
    return as_numbers(form, array, lambda index: place(column, index[:sides]))


def _texts_or_ids(form: InputForm, tokens: TokenEncoding, columns: Columns, place: ColumnPlace) -> Array:
    """Texts object [n, columns]; or ids int64 [n, width] where an array of numbers was sent."""
    first = columns[form.columns[0]]
    if tokens.words and not (isinstance(first, np.ndarray) and first.dtype.kind in "biuf"):
        return words_of_lists(form, first, lambda index: place(form.columns[0], index))
    if tokens.ids and not isinstance(first, np.ndarray):
        return ids_of_lists(form, tokens, first, lambda index: place(form.columns[0], index))
    if tokens.ids or (isinstance(first, np.ndarray) and first.dtype.kind in "biuf"):
        assert isinstance(first, np.ndarray)
        return check_ids(form, tokens, first, lambda index: place(form.columns[0], index))
    if form.pairs_too:
        rows = first.tolist() if isinstance(first, np.ndarray) else first
        return texts_of_lists(form, rows, lambda index: place(form.columns[0], index))
    found = together(form.columns, lambda column: _text_column(column, columns[column], place))
    rows = np.empty((len(found[0]), len(found)), object)
    for i, texts in enumerate(found):
        rows[:, i] = texts
    return rows


def _text_column(column: str, values: Array | Sequence[Any], place: ColumnPlace) -> list[str]:
    """One column of texts; a missing one is empty."""
    listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    wrong = [i for i, value in enumerate(listed) if value is not None and not isinstance(value, str)]
    if wrong:
        detail = f"expected text for the column `{column}`, found {kind_of(listed[wrong[0]])}: send texts"
        raise RowErrors([Problem(pointer=place(column, (i,)), code="wrong_type", detail=detail) for i in wrong])
    return [value or "" for value in listed]


def _numbers(
    column: str, values: Array | Sequence[Any], form: InputForm, place: ColumnPlace, written: CsvOptions | None
) -> Array:
    """One column of numbers [n, …]; NaN where missing."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind in "biuf":
            return values
        shape, values = values.shape, values.ravel().tolist()
    else:
        if any(isinstance(value, list) for value in values):
            return numbers_of(values, form, lambda index: place(column, index), nullable=True)
        shape = (len(values),)
    numbers = [number(value, written) for value in values]
    wrong = [i for i, each in enumerate(numbers) if each is None]
    if wrong:
        detail = f"expected a number for the column `{column}`, found {kind_of(values[wrong[0]])}: send numbers"
        places = np.transpose(np.unravel_index(wrong[:MOST_PROBLEMS], shape)).tolist()
        raise RowErrors(
            [Problem(pointer=place(column, tuple(each)), code="wrong_type", detail=detail) for each in places]
        )
    return np.array(numbers, dtype=np.float64).reshape(shape)


def _categories(form: InputForm, columns: Columns, place: ColumnPlace) -> Array:
    found = together(form.columns, lambda column: _texts(column, columns[column], place))
    texts = [each for each, _ in found]
    places = [(column, inner) for column, (_, inners) in zip(form.columns, found, strict=True) for inner in inners]
    rows = np.stack([np.array([*each, ""], dtype=object)[:-1] for each in _split(texts)], axis=1)
    size = rows.shape[1]
    check_shape(form, rows.shape[1:] if form.shape else (), place(form.columns[0], ()))

    def flat(index: tuple[int, ...]) -> str:
        row, position = divmod(index[0], size)
        column, inner = places[position]
        return place(column, (row, *inner))

    return as_categories(form, rows.ravel().tolist(), flat).reshape(len(rows), *(form.shape and (size,)))


def _split(texts: list[list[list[str]]]) -> list[list[str]]:
    """Columns of several values a row as one column for each."""
    return [[row[i] for row in column] for column in texts for i in range(len(column[0]))]


def _texts(
    column: str, values: Array | Sequence[Any], place: ColumnPlace
) -> tuple[list[list[str]], list[tuple[int, ...]]]:
    """(the texts of each row, the place of each of them within a row)."""
    if isinstance(values, np.ndarray):
        rows = values.reshape(len(values), -1)
        return [[label_text(value) for value in row] for row in rows.tolist()], list(np.ndindex(values.shape[1:]))
    listed = [value if isinstance(value, list) else [value] for value in values]
    if len({len(each) for each in listed}) > 1:
        raise at(place(column, ()), "ragged", f"expected equally many values in each row of `{column}`: fill them in")
    if not listed[0]:
        raise at(
            place(column, (0,)), "shape_mismatch", f"expected a category for `{column}`, found an empty list: send it"
        )
    inners: list[tuple[int, ...]] = [(i,) for i in range(len(listed[0]))] if isinstance(values[0], list) else [()]
    found = [[category_text(value) for value in each] for each in listed]
    wrong = [(row, *inners[i]) for row, each in enumerate(found) for i, text in enumerate(each) if text is None]
    if wrong:
        detail = f"expected text, a number, a boolean or null for the column `{column}`: send the category"
        raise RowErrors([Problem(pointer=place(column, each), code="wrong_type", detail=detail) for each in wrong])
    return [[text for text in each if text is not None] for each in found], inners
