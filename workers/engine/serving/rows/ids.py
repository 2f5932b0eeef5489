"""Texts, words and ids of tokens that a client sends in lists."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.contracts.resources.inputs.texts import TokenEncoding
from workers.engine.data.formats.common import Array
from workers.engine.data.texts.width import width_of
from workers.engine.serving.rows.errors import Place, at, kind_of, shown
from workers.engine.serving.rows.forms import InputForm


def ids_of_lists(form: InputForm, tokens: TokenEncoding, rows: Sequence[Any], place: Place) -> Array:
    """Lists of ids of any lengths as int64 [n, width], filled up. Raises RowErrors."""
    longest = max((len(row) for row in rows if isinstance(row, list)), default=1)
    found = np.full((len(rows), width_of(longest, tokens.length)), tokens.padding, np.int64)
    for i, row in enumerate(rows):
        _check_list(row, i, int, place, f"a list of ids below {tokens.vocabulary} for `{form.name}`", "whole numbers")
        if len(row) > tokens.length:
            detail = f"expected up to {tokens.length} ids for `{form.name}`, found {len(row)}: split the row"
            raise at(place((i,)), "shape_mismatch", detail)
        wrong = next((j for j, each in enumerate(row) if not 0 <= each < tokens.vocabulary), None)
        if wrong is not None:
            detail = (
                f"expected ids from 0 to {tokens.vocabulary - 1}, found {shown(row[wrong])}: send ids that it knows"
            )
            raise at(place((i, wrong)), "out_of_range", detail)
        found[i, : len(row)] = row
        if row[-1] == tokens.padding:
            detail = f"expected a row without padding, whose id is {tokens.padding}, at its end: leave it out"
            raise at(place((i, len(row) - 1)), "out_of_range", detail)
    return found


def texts_of_lists(form: InputForm, rows: Sequence[Any], place: Place) -> Array:
    """Texts, or lists of one or two, as object [n, texts]; a missing text is empty, and None stands behind a text
    where other rows are pairs. Raises RowErrors.
    """
    found = [_texts(form, i, row, place) for i, row in enumerate(rows)]
    size = max(map(len, found))
    return np.array([row + [None] * (size - len(row)) for row in found], dtype=object)


def _texts(form: InputForm, i: int, value: Any, place: Place) -> list[str | None]:
    """The text of row `i`, or both."""
    sizes = (1, 2) if form.pairs_too else (len(form.columns),)
    row = value if isinstance(value, list) else [value]
    wrong = next((j for j, each in enumerate(row) if each is not None and not isinstance(each, str)), None)
    if wrong is None and len(row) in sizes:
        return [each or "" for each in row]
    if wrong is not None:
        found = kind_of(row[wrong])
    else:
        found = f"a list of {len(row)}" if isinstance(value, list) else kind_of(value)
    where = (i, wrong) if wrong is not None and isinstance(value, list) else (i,)
    way_out = "send text once or twice" if form.pairs_too else "send text" + " twice" * (sizes[0] - 1)
    raise at(place(where), "wrong_type", f"expected {form.described} for `{form.name}`, found {found}: {way_out}")


def words_of_lists(form: InputForm, rows: Sequence[Any] | Array, place: Place) -> Array:
    """Lists of words as object [n, 1]. Raises RowErrors."""
    found = np.empty((len(rows), 1), object)
    # Rows of an array are filled up with empty texts, which are no words.
    lists = [_trimmed(row) for row in rows.tolist()] if isinstance(rows, np.ndarray) else rows
    for i, row in enumerate(lists):
        _check_list(row, i, str, place, f"a list of words for `{form.name}`", "texts in lists")
        found[i, 0] = row
    return found


def _check_list(row: Any, i: int, kind: type[int] | type[str], place: Place, expected: str, way_out: str) -> None:
    """Check that row `i` is a list of values of a kind, of texts with one that is not empty. Raises RowErrors."""
    where: tuple[int, ...] = (i,)
    if not isinstance(row, list):
        found = kind_of(row)
    elif (wrong := next((j for j, each in enumerate(row) if type(each) is not kind), None)) is not None:
        found, where = f"{kind_of(row[wrong])} in place {wrong + 1} of the list", (i, wrong)
    elif not row:
        found = "an empty list"
    elif kind is str and not any(row):
        found = "empty texts alone"
    else:
        return
    raise at(place(where), "wrong_type", f"expected {expected}, found {found}: send {way_out}")


def _trimmed(row: Any) -> Any:
    if not isinstance(row, list):
        return row
    return row[: max((i + 1 for i, word in enumerate(row) if word), default=0)]


def check_ids(form: InputForm, tokens: TokenEncoding, ids: Array, place: Place) -> Array:
    """Ids [n, width] that a client sends instead of texts, int64. Raises RowErrors."""
    if form.texts_alone:
        detail = "the ids are of the student's tokenizer, and this model reads texts by another one: send texts"
        raise at(place(()), "input_mismatch", detail)
    if ids.dtype.kind not in "iu" or ids.ndim != 2 or not 1 <= ids.shape[1] <= tokens.length:
        expected = f"{form.described}, or ids int64 [rows, 1 to {tokens.length}]"
        detail = f"expected {expected} for `{form.name}`, found {ids.dtype} {list(ids.shape)}: send one of them"
        raise at(place(()), "wrong_type", detail)
    outside = (ids < 0) | (ids >= tokens.vocabulary)
    if outside.any():
        row, wrong = divmod(int(np.argmax(outside)), ids.shape[1])
        found = f"expected ids from 0 to {tokens.vocabulary - 1}, found {ids[row, wrong]}"
        raise at(place((row, wrong)), "out_of_range", f"{found}: use the model's tokenizer")
    return ids.astype(np.int64)
