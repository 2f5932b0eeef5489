"""Rows of ids as they stand in a file: checked, cut at the longest row, and filled up to one width."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.inputs.texts import TokensInput, encoding_of_ids
from workers.engine.data.dataset import InputRows
from workers.engine.data.formats.text_column import ListColumn
from workers.engine.data.texts.places import TokenPlaces, flat, wrong_row
from workers.engine.data.texts.reading import TextReading
from workers.engine.data.texts.rows import filled
from workers.engine.data.texts.width import width_of


def read_ids(
    name: str, spec: TokensInput, lists: Mapping[str, ListColumn], reading: TextReading | None
) -> tuple[InputRows, TokenPlaces]:
    """The rows of an input of ids, int32 [N, width]. Raises UserError `wrong_tokens` with the first bad row."""
    column = spec.column or name
    found = [
        _checked(name, first + i, row, spec) for first, rows in lists[column].blocks() for i, row in enumerate(rows)
    ]
    length = _length(name, spec, reading)
    tokens = [np.trim_zeros(row - spec.padding, "b").size for row in found]
    empty = next((i for i, count in enumerate(tokens) if count == 0), None)
    if empty is not None:
        raise wrong_row(name, empty, "nothing but padding", "an id or more", "leave the row out")
    lengths = np.minimum(np.array(tokens, np.int32), np.int32(length))
    whole = reading is not None and reading.whole_width
    width = length if whole else width_of(int(lengths.max()), length)
    encoding = encoding_of_ids(spec.vocabulary, spec.padding, width)
    rows = np.empty((len(found), width), np.int32)
    filled(flat([row[:size] for row, size in zip(found, lengths.tolist(), strict=True)]), lengths, rows, encoding)
    places = [_places(len(row), size) for row, size in zip(found, lengths.tolist(), strict=True)]
    counts = np.array([len(row) for row in found], np.int64)
    made = TokenPlaces(counts, flat(places), lengths, width)
    return InputRows(torch.from_numpy(rows), tokens=encoding), made


def _length(name: str, spec: TokensInput, reading: TextReading | None) -> int:
    """Most tokens of a row: those that the student reads, where it is known."""
    if reading is None or name not in reading.dataset:
        return spec.length
    own = reading.dataset[name]
    return reading.student.length if reading.student is not None and reading.student.ids else own.length


def _places(count: int, size: int) -> NDArray[np.int32]:
    """The place of each of `count` ids in a row that has the first `size` of them."""
    places = np.arange(count, dtype=np.int32)
    places[size:] = -1
    return places


def _checked(name: str, row: int, ids: list[Any] | None, spec: TokensInput) -> NDArray[np.int32]:
    """The ids of a row. Raises UserError `wrong_tokens`."""
    expected = f"whole numbers from 0 to {spec.vocabulary - 1}"
    if ids is None:
        raise wrong_row(name, row, "no list", f"a list of {expected}", "leave the row out")
    if not ids:
        raise wrong_row(name, row, "an empty list", f"a list of {expected}", "leave the row out")
    for each in ids:
        if type(each) is not int:
            found = "null" if each is None else f"{type(each).__name__} {str(each)[:40]!r}"
            raise wrong_row(name, row, f"{found} in the list", expected, "write the ids of the tokens")
        if not 0 <= each < spec.vocabulary:
            raise wrong_row(name, row, f"the id {each}", expected, "raise `vocabulary`, or correct the id")
    return np.array(ids, np.int32)


def check_has_lists(name: str, column: str, lists: Mapping[str, ListColumn]) -> None:
    """Raises UserError `wrong_type` where a column has no lists."""
    if column not in lists:
        raise UserError("wrong_type", f"`{name}` reads lists, and `{column}` has none: name a column of lists")
