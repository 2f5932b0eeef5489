"""Texts as rows of token ids of one width, in memory or mapped from a file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.resources.inputs.texts import TokenEncoding
from workers.engine.common.row_storage import RowStorage
from workers.engine.common.row_store import RowFile
from workers.engine.data.formats.text_column import BLOCK_ROWS, TextColumn, blocks_of
from workers.engine.data.texts.tokenizer import VERSION, TextTokenizer
from workers.engine.data.texts.width import width_of

STORED: Final = "tokens"
"""The folder of ids, and of how many each row has, in a store."""


def token_rows(
    columns: Sequence[tuple[str, TextColumn]],
    tokenizer: TextTokenizer,
    encoding: TokenEncoding,
    storage: RowStorage | None,
    written: Mapping[str, Any],
    width: int | None = None,
) -> Tensor:
    """Ids int32 [N, width] of one or two columns of texts, filled up with the encoding's padding.

    `written`: how the file is read that has the texts. Without a `width` it is that of the longest row. With a storage
    the rows are mapped from its file, which is made once.
    """
    encoded = _Encoded([column for _, column in columns], tokenizer, encoding)
    count = len(columns[0][1])
    if storage is None:
        width = width or width_of(int(encoded.lengths.max()), encoding.length)
        return torch.from_numpy(np.concatenate([block.copy() for block in encoded.blocks(width)]))
    facts = {**_facts([name for name, _ in columns], encoding), "written": dict(written)}
    if width is None:
        each = RowFile(np.dtype(np.int32), ())
        lengths = storage.rows(STORED, facts, count, each, lambda: iter((encoded.lengths,)))
        width = width_of(int(lengths.max()), encoding.length)
    file = RowFile(np.dtype(np.int32), (width,))
    return storage.rows(STORED, {**facts, "width": width}, count, file, lambda: encoded.blocks(width))


def _facts(names: Sequence[str], encoding: TokenEncoding) -> dict[str, Any]:
    """Everything that the ids depend on besides the file."""
    return {"columns": list(names), "encoding": encoding.model_dump(mode="json"), "library": VERSION}


@dataclass(frozen=True)
class _Encoded:
    """The ids of all rows, one after another, made when they are first asked for."""

    columns: Sequence[TextColumn]
    tokenizer: TextTokenizer
    encoding: TokenEncoding

    @cached_property
    def _ids(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(the ids of all rows, the end of each row among them)."""
        parts: list[NDArray[np.int32]] = []
        lengths: list[int] = []
        for block in blocks_of(self.columns):
            rows = self.tokenizer.encode(block, self.encoding.length)
            parts.append(np.concatenate(rows) if rows else np.empty(0, np.int32))
            lengths.extend(map(len, rows))
        return np.concatenate(parts), np.cumsum(lengths, dtype=np.int64)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Number of ids of each row."""
        return np.diff(self._ids[1], prepend=0).astype(np.int32)

    def blocks(self, width: int) -> Iterator[NDArray[np.int32]]:
        """Blocks [n, width]; one is overwritten by the next."""
        values, ends = self._ids
        lengths = self.lengths
        block = np.empty((min(BLOCK_ROWS, len(ends)), width), np.int32)
        for first in range(0, len(ends), BLOCK_ROWS):
            part = slice(first, min(first + BLOCK_ROWS, len(ends)))
            rows = block[: part.stop - part.start]
            filled(values[ends[first] - lengths[first] : ends[part.stop - 1]], lengths[part], rows, self.encoding)
            yield rows


def filled(
    values: NDArray[np.int32], lengths: NDArray[np.int32], rows: NDArray[np.int32], encoding: TokenEncoding
) -> None:
    """Write ids, which stand one row after another, to `rows` [n, width], filled up."""
    rows.fill(encoding.padding)
    rows[np.arange(rows.shape[1]) < lengths[:, None]] = values
