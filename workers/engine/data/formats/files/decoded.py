"""All files of a dataset as rows of one shape, decoded by as many threads as torch uses."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.wire.orders import SharedCache
from workers.engine.common.progress import moved
from workers.engine.common.row_storage import RowStorage
from workers.engine.common.row_store import RowFile
from workers.engine.data.formats.common import EncodedFiles

MOST_BYTES: Final = 16 << 30
"""Of all rows of an input, also where jobs keep them encoded: an inspection tries each and reads all rows several
times, so it decodes them to a file, and what it takes in time and on its disk grows with the decoded rows.
"""
_MOST_ROWS, _MOST_BLOCK_BYTES = 4096, 16 << 20
"""Of a block, which is all that is in memory at a time."""
_LOADED, _ROWS = 64, 8
"""Encoded files in memory for each thread, and those that it decodes in one call."""

Decode = Callable[[str, bytes], NDArray[Any]]
"""(name, content) of a file -> its row."""


def decoded_rows(
    files: EncodedFiles,
    row: RowFile,
    decode: Decode,
    storage: RowStorage | None,
    stored: SharedCache,
    facts: Mapping[str, Any],
) -> Tensor:
    """Rows [N, *row.shape]. With a storage they are mapped from its file below the folder `stored`, which is made once
    for the same `facts`: everything that they depend on besides the dataset's file. Without one they are in memory.

    Raises what `decode` raises.
    """
    count = len(files)
    if storage is not None:
        return storage.rows(stored, facts, count, row, lambda: _blocks(files, row, decode))
    found = np.empty((count, *row.shape), row.dtype)
    first = 0
    for block in _blocks(files, row, decode):
        found[first : first + len(block)] = block
        first += len(block)
    return torch.from_numpy(found)


def _blocks(files: EncodedFiles, row: RowFile, decode: Decode) -> Iterator[NDArray[Any]]:
    """Blocks [n, *row.shape] in the order of the files; one is overwritten by the next."""
    count, threads = len(files), torch.get_num_threads()
    size = min(count, _MOST_ROWS, max(2 * threads, _MOST_BLOCK_BYTES // row.bytes))
    block = np.empty((size, *row.shape), row.dtype)

    def fill(begin: int, rows: range) -> None:
        for each in rows:
            block[each - begin] = decode(files.name(each), files.read(each))

    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, count, size):
            for rows in _parts(range(begin, min(begin + size, count)), _LOADED * threads):
                files.load(rows)
                for _ in pool.map(partial(fill, begin), _parts(rows, _ROWS)):
                    moved()
            yield block[: min(size, count - begin)]


def _parts(rows: range, size: int) -> list[range]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]
