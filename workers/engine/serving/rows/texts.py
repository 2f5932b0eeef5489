"""Texts of a request as the ids that an exported graph takes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from workers.engine.data.formats.common import Array
from workers.engine.data.texts.width import width_of
from workers.engine.serving.rows.forms import InputForm


def token_places(rows: Mapping[str, Array], forms: Mapping[str, InputForm]) -> list[range]:
    """The tokens of each row of the first input of texts, without the padding behind them; empty without one."""
    for name, ids in rows.items():
        tokens = forms[name].tokens
        if tokens is not None:
            places = np.arange(1, ids.shape[1] + 1) * (ids != tokens.padding)
            return [range(int(count)) for count in places.max(axis=1)]
    return []


class RequestTokenizers:
    """The tokenizers of a session, by input."""

    def __init__(self, forms: Mapping[str, InputForm], files: Mapping[str, str]) -> None:
        """`files`: paths of tokenizers by their SHA-256. Raises UserError `unusable_tokenizer`."""
        self._encodings = {name: form.tokens for name, form in forms.items() if form.tokens and not form.tokens.ids}
        if not self._encodings:
            return
        from workers.engine.data.texts.tokenizer import TextTokenizer  # its library is imported where there are texts

        self._tokenizers = {
            name: TextTokenizer.of_file(Path(files[each.tokenizer])) for name, each in self._encodings.items()
        }

    def ids(self, rows: Mapping[str, Array], forms: Mapping[str, InputForm]) -> dict[str, Array]:
        """The inputs with texts [n, columns] as ids int64 [n, width]; others, and ids that were sent, as they are."""
        return {
            name: self._ids(name, values, forms[name]) if values.dtype == object and name in self._encodings else values
            for name, values in rows.items()
        }

    def _ids(self, name: str, texts: Array, form: InputForm) -> Array:
        encoding, (side,) = self._encodings[name], form.shape
        found = self._tokenizers[name].encode([tuple(row) for row in texts.tolist()], side or encoding.length)
        width = side or width_of(max(map(len, found)), encoding.length)
        rows = np.full((len(found), width), encoding.padding, np.int64)
        for row, ids in zip(rows, found, strict=True):
            row[: len(ids)] = ids
        return rows
