"""Texts of a request as the ids that an exported graph takes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from workers.engine.data.formats.common import Array
from workers.engine.data.texts.width import width_of
from workers.engine.serving.rows.forms import InputForm


class RequestTokenizers:
    """The tokenizers of a session, by input."""

    def __init__(self, forms: Mapping[str, InputForm], files: Mapping[str, str]) -> None:
        """`files`: paths of tokenizers by their SHA-256. Raises UserError `unusable_tokenizer`."""
        self._encodings = {name: form.tokens for name, form in forms.items() if form.tokens and not form.tokens.ids}
        self._words: list[list[int]] | None = None
        if not self._encodings:
            return
        from workers.engine.data.texts.tokenizer import TextTokenizer  # its library is imported where there are texts

        self._tokenizers = {
            name: TextTokenizer.of_file(Path(files[each.tokenizer])) for name, each in self._encodings.items()
        }

    def ids(self, rows: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs with texts [n, columns] as ids int64 [n, width]; others, and ids that were sent, as they are."""
        self._words = None
        return {
            name: self._ids(name, values) if values.dtype == object and name in self._encodings else values
            for name, values in rows.items()
        }

    def places(self, rows: Mapping[str, Array], forms: Mapping[str, InputForm]) -> list[list[int]]:
        """The tokens of each row whose answers are given, of the first input of texts: all without the padding behind
        them, of words the first of each, -1 for a word that has none. Empty without such an input.
        """
        if self._words is not None:
            return self._words
        for name, ids in rows.items():
            tokens = forms[name].tokens
            if tokens is not None:
                ends = (np.arange(1, ids.shape[1] + 1) * (ids != tokens.padding)).max(axis=1)
                return [list(range(end)) for end in ends.tolist()]
        return []

    def _of_words(self, name: str, rows: list[list[str]], length: int) -> list[Array]:
        """The ids of rows of words; the first token of each word is kept for the answers."""
        found = self._tokenizers[name].encode_words(rows, length)
        self._words = [firsts.tolist() for _, firsts in found]
        return [ids for ids, _ in found]

    def _ids(self, name: str, texts: Array) -> Array:
        encoding = self._encodings[name]
        if encoding.words:
            found = self._of_words(name, [row[0] for row in texts.tolist()], encoding.length)
        else:
            rows_of_texts = [tuple(each for each in row if each is not None) for row in texts.tolist()]
            found = self._tokenizers[name].encode(rows_of_texts, encoding.length)
        width = width_of(max(map(len, found)), encoding.length)
        rows = np.full((len(found), width), encoding.padding, np.int64)
        for row, ids in zip(rows, found, strict=True):
            row[: len(ids)] = ids
        return rows
