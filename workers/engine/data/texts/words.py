"""Texts that stand in a file as lists of words, each of which has a label."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts.resources.inputs.encoded_names import encoded_name
from app.contracts.resources.inputs.texts import TextInput, TokenEncoding, reads_same_tokens
from workers.engine.data.dataset import InputRows
from workers.engine.data.formats.text_column import ListColumn
from workers.engine.data.texts.places import TokenPlaces, flat, wrong_row
from workers.engine.data.texts.reading import TextReading
from workers.engine.data.texts.rows import filled
from workers.engine.data.texts.tokenizer import TextTokenizer
from workers.engine.data.texts.training import SPECIAL, trained_tokenizer
from workers.engine.data.texts.width import width_of

_EXPECTED = "a list of words"


def read_words(
    name: str,
    spec: TextInput,
    lists: Mapping[str, ListColumn],
    train: NDArray[np.int64],
    reading: TextReading | None,
) -> tuple[InputRows, TokenPlaces]:
    """The ids of an input whose column has lists of words, and the first token of each word.

    A teacher with the student's tokenizer reads the student's rows. Raises UserError `wrong_tokens`, `no_text`,
    `unusable_tokenizer`.
    """
    (column,) = spec.columns or (name,)
    rows = [_checked(name, first + i, each) for first, block in lists[column].blocks() for i, each in enumerate(block)]
    counts = np.array([len(each) for each in rows], np.int64)
    rows = [_without_filling(each) for each in rows]
    if reading is None or name not in reading.dataset:
        tokenizer = trained_tokenizer(spec.tokenizer, _training_words(rows, train))
        encoding = tokenizer.encoding(spec.length, separator=SPECIAL.index("[SEP]"))
        found, places = _made(rows, counts, tokenizer, encoding)
        cut = encoding.model_copy(update={"length": places.width, "words": True})
        return InputRows(found, tokens=cut, trained=tokenizer.content), places
    own = (reading.student or reading.dataset[name]).model_copy(update={"words": True})
    width = own.length if reading.whole_width else None
    found, places = _made(rows, counts, reading.tokenizer(own), own, width)
    others = {}
    for each in reading.teachers:
        if not each.ids and not reads_same_tokens(each, own):
            ids, _ = _made(rows, counts, reading.tokenizer(each), each, each.length if reading.whole_width else None)
            others[encoded_name(name, each)] = InputRows(ids, tokens=each)
    return InputRows(found, tokens=own, others=others), places


def _made(
    rows: list[list[str]],
    counts: NDArray[np.int64],
    tokenizer: TextTokenizer,
    encoding: TokenEncoding,
    width: int | None = None,
) -> tuple[torch.Tensor, TokenPlaces]:
    encoded = tokenizer.encode_words(rows, encoding.length)
    lengths = np.array([len(ids) for ids, _ in encoded], np.int32)
    width = width or width_of(int(lengths.max()), encoding.length)
    found = np.empty((len(rows), width), np.int32)
    filled(flat([ids for ids, _ in encoded]), lengths, found, encoding)
    places = [_filled_up(first, count) for (_, first), count in zip(encoded, counts.tolist(), strict=True)]
    return torch.from_numpy(found), TokenPlaces(counts, flat(places), lengths, width)


def _filled_up(places: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    return np.concatenate([places, np.full(count - len(places), -1, np.int32)])


def _without_filling(words: list[str]) -> list[str]:
    """Without the empty texts by which rows of an array are made as long as the longest."""
    last = max((i for i, word in enumerate(words) if word), default=-1)
    return words[: last + 1]


def _training_words(rows: list[list[str]], train: NDArray[np.int64]) -> Iterator[tuple[str, ...]]:
    return (tuple(rows[row]) for row in train.tolist())


def _checked(name: str, row: int, words: list[Any] | None) -> list[str]:
    """The words of a row. Raises UserError `wrong_tokens`."""
    if words is None:
        raise wrong_row(name, row, "no list", _EXPECTED, "leave the row out")
    wrong = next((each for each in words if not isinstance(each, str)), "")
    if not isinstance(wrong, str):
        found = "null" if wrong is None else f"{type(wrong).__name__} {str(wrong)[:40]!r}"
        raise wrong_row(name, row, f"{found} in the list", _EXPECTED, "write each word as text")
    if not any(words):
        raise wrong_row(name, row, "no word", _EXPECTED, "leave the row out")
    return words
