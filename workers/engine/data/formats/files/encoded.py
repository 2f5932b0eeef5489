"""Rows that stay encoded, and are decoded when they are taken, or by threads before they are."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from math import prod
from typing import Any, Final
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.wire.orders import SharedCache
from workers.engine.common.progress import moved
from workers.engine.common.row_storage import RowStorage
from workers.engine.common.row_store import RowFile
from workers.engine.data.formats.common import EncodedFiles
from workers.engine.data.formats.files.decoded import Decode

AHEAD_BYTES: Final = 64 << 20
AHEAD_ROWS: Final = 8192
"""Decoded rows that wait to be taken: below these sizes one part more is decoded."""
_ROWS: Final = 16
"""Those that a thread decodes in one call."""
_LOADED: Final = 256
"""Encoded files in memory while they are copied."""


Numbers = Callable[[], Tensor]
"""Numbers float64 [k] about rows, which take passes over them."""


class EncodedRows:
    """Rows uint8 [N, *row] of N encoded files, in the place of a tensor: they are decoded whenever they are taken, by
    as many threads as torch uses, into memory of the caller.

    `values` has the files' bytes one after another, mapped from a file, `ends` [N] where each ends. `name` is what an
    error calls a file. `key`: a digest of everything that the rows depend on. `kept` gives numbers about rows by a key
    of them, made once.
    """

    dtype: Final = torch.uint8

    def __init__(
        self,
        row: tuple[int, ...],
        ends: NDArray[np.int64],
        values: "np.memmap[Any, np.dtype[np.uint8]]",
        name: Callable[[int], str],
        decode: Decode,
        key: str,
        kept: Callable[[str, int, Numbers], Tensor],
    ) -> None:
        self.shape = (len(ends), *row)
        self.key = key
        self._ends, self._values, self._name, self._decode, self._kept = ends, values, name, decode, kept
        # Read by calls: a page fault of the map would hold Python's lock, and with it the step, until the disk answers.
        assert values.filename is not None
        self._file = os.open(values.filename, os.O_RDONLY)
        finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """Rows uint8 [n, *row], of their numbers int64 [n] or a range. Raises what `decode` raises."""
        numbers = torch.arange(len(self))[rows] if isinstance(rows, slice) else rows
        with closing(self.ahead([numbers])) as parts:
            return next(parts)[1]

    def dim(self) -> int:
        """Number of dimensions, as of a tensor."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, decoded."""
        return prod(self.shape)

    def ahead(self, parts: Iterable[Tensor]) -> "_Ahead":
        """(row numbers int64 [n], rows uint8 [n, *row]) of each part in order. Coming parts are decoded meanwhile, up
        to AHEAD_BYTES and AHEAD_ROWS. To be closed: its threads end then.
        """
        return _Ahead(iter(parts), self._submitted)

    def remembered(self, name: str, rows: Tensor, count: int, make: Numbers) -> Tensor:
        """`count` numbers float64 about these rows (int64 [n]), called `name`: those of `make`, made once."""
        return self._kept(f"{name} of {hashlib.sha256(rows.numpy().tobytes()).hexdigest()}", count, make)

    def _submitted(self, pool: ThreadPoolExecutor, numbers: Tensor) -> "_Part":
        rows = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        chosen = numbers.tolist()
        tasks = [
            pool.submit(self._decode_into, rows[first : first + _ROWS], chosen[first : first + _ROWS])
            for first in range(0, len(chosen), _ROWS)
        ]
        return _Part(numbers, rows, tasks)

    def _decode_into(self, rows: NDArray[np.uint8], numbers: list[int]) -> None:
        for place, number in enumerate(numbers):
            begin = int(self._ends[number - 1]) if number else 0
            content = os.pread(self._file, int(self._ends[number]) - begin, begin)
            rows[place] = self._decode(self._name(number), content)


@dataclass(frozen=True)
class _Part:
    """Rows that threads write, in tasks."""

    numbers: Tensor
    rows: NDArray[np.uint8]
    tasks: list["Future[None]"]


class _Ahead:
    """An iterator over decoded parts. Its threads start with the first part."""

    def __init__(self, parts: Iterator[Tensor], submitted: Callable[[ThreadPoolExecutor, Tensor], _Part]) -> None:
        self._coming, self._submitted = parts, submitted
        self._pool = ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="decode")
        self._parts: deque[_Part] = deque()

    def __iter__(self) -> "_Ahead":
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Raises the error of the first row of the part that has one."""
        self._fill()
        if not self._parts:
            raise StopIteration
        part = self._parts.popleft()
        self._fill()
        for task in part.tasks:
            task.result()
        return part.numbers, torch.from_numpy(part.rows)

    def _fill(self) -> None:
        while not self._parts or (
            sum(part.rows.nbytes for part in self._parts) < AHEAD_BYTES
            and sum(len(part.rows) for part in self._parts) < AHEAD_ROWS
        ):
            numbers = next(self._coming, None)
            if numbers is None:
                return
            self._parts.append(self._submitted(self._pool, numbers))

    def close(self) -> None:
        """End the threads, once each has decoded the rows that it is at."""
        self._parts.clear()
        self._pool.shutdown(cancel_futures=True)


RawRows = Tensor | EncodedRows
"""Rows [N, …] of an input as they were read: in memory, mapped, or encoded."""


def remembered(raw: RawRows, name: str, rows: Tensor, count: int, make: Numbers) -> Tensor:
    """What `make` gives: `count` numbers float64 about these rows; of encoded ones made once and stored."""
    return make() if isinstance(raw, Tensor) else raw.remembered(name, rows, count, make)


def tensors_of(inputs: Mapping[str, RawRows]) -> dict[str, Tensor]:
    """Those that are tensors."""
    return {name: rows for name, rows in inputs.items() if isinstance(rows, Tensor)}


def encoded_of(inputs: Mapping[str, RawRows]) -> dict[str, EncodedRows]:
    """Those that are encoded."""
    return {name: rows for name, rows in inputs.items() if isinstance(rows, EncodedRows)}


def parts_of(rows: RawRows, parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """Rows [n, …] of each part (row numbers int64 [n]); coming parts of encoded ones are decoded meanwhile."""
    if isinstance(rows, Tensor):
        for part in parts:
            moved()
            yield rows[part]
        return
    with closing(rows.ahead(parts)) as ahead:
        for _, decoded in ahead:
            moved()
            yield decoded


def ranges_of(rows: RawRows, first: int, last: int, size: int) -> Iterator[Tensor]:
    """Rows `first` to `last` − 1 in order, `size` at a time: views of a tensor, or `parts_of` encoded ones."""
    if isinstance(rows, Tensor):
        return iter(torch.split(rows[first:last], size))
    return parts_of(rows, torch.split(torch.arange(first, last), size))


def encoded_rows(
    files: EncodedFiles,
    row: tuple[int, ...],
    decode: Decode,
    storage: RowStorage,
    stored: SharedCache,
    facts: Mapping[str, Any],
) -> EncodedRows:
    """Rows [N, *row] whose files are copied once, one after another, to a file of the storage, below `stored`. `facts`:
    everything that the rows depend on besides the dataset's file.
    """
    count = len(files)
    ends = file_ends(files, storage, stored, facts)
    content = RowFile(np.dtype(np.uint8), ())
    values = storage.mapped(stored, _of_file(facts, "files"), int(ends[-1]), content, lambda: _contents(files))

    def kept(name: str, size: int, make: Numbers) -> Tensor:
        of = {**facts, "numbers": name}
        return storage.rows(stored, of, size, RowFile(np.dtype(np.float64), ()), lambda: iter([make().numpy()])).clone()

    return EncodedRows(row, ends, values, files.name, decode, storage.key(stored, facts, count, row), kept)


def file_ends(
    files: EncodedFiles, storage: RowStorage, stored: SharedCache, facts: Mapping[str, Any]
) -> NDArray[np.int64]:
    """Where each file ends [N] if they stand one after another, made once."""

    def made() -> Iterator[NDArray[np.int64]]:
        end = 0
        for contents in _windows(files):
            ends = end + np.cumsum([len(content) for content in contents], dtype=np.int64)
            end = int(ends[-1])
            yield ends

    return storage.mapped(stored, _of_file(facts, "ends"), len(files), RowFile(np.dtype(np.int64), ()), made)


def _of_file(facts: Mapping[str, Any], part: str) -> dict[str, Any]:
    """What the encoded files depend on, whatever they are decoded to."""
    return {"format": facts["format"], "column": facts["column"], "encoded": part}


def _contents(files: EncodedFiles) -> Iterator[NDArray[np.uint8]]:
    return (np.frombuffer(b"".join(contents), np.uint8) for contents in _windows(files))


def _windows(files: EncodedFiles) -> Iterator[list[bytes]]:
    for first in range(0, len(files), _LOADED):
        rows = range(first, min(first + _LOADED, len(files)))
        files.load(rows)
        yield [files.read(row) for row in rows]
