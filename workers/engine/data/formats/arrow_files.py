"""Columns of encoded files in parquet: bytes, or the struct {bytes, path} of Hugging Face's `Image` and `Audio`."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from app.contracts.problems import UserError
from workers.engine.data.formats.arrow_errors import arrow_errors
from workers.engine.data.formats.common import EncodedFiles, unreadable

_BATCH = 64
"""Rows that Arrow decodes at a time."""
_BUFFER_BYTES = 1 << 20
"""Of the file; without a buffer Arrow reads a row group's column at once, and with its `pre_buffer` it keeps the column
of every row group that it has read."""


def encoded_files(name: str, path: Path, file: pa.parquet.ParquetFile, *, optional: bool = False) -> EncodedFiles:
    """The files of a column, which are read when they are asked for; `optional`: empty where it has null. Raises
    UserError `wrong_type`.
    """
    kind = file.schema_arrow.field(name).type
    is_struct = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if is_struct:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise UserError(
            "wrong_type",
            f"column `{name}` is of type {kind}, expected encoded files: bytes, or a struct with `bytes`",
        )
    files = _Files(name, path, f"{name}.bytes" if is_struct else name, optional=optional)
    return EncodedFiles(file.metadata.num_rows, files.read, lambda row: f"{name} at row {row}", files.load)


class _Files:
    """A window of rows that moves over a column. Raises UserError `wrong_type`, `unreadable`."""

    def __init__(self, name: str, path: Path, column: str, *, optional: bool) -> None:
        self._optional = optional
        self._name, self._path, self._column = name, path, column
        self._batches: Iterator[pa.Array] = iter(())
        self._window: list[pa.Array] = []
        self._begin = self._end = 0

    def load(self, rows: range) -> None:
        """Move the window on to these rows, or back by reading the column again. An empty range frees the window."""
        if not rows or rows.start < self._begin or self._end == 0:
            self._batches, self._window, self._begin, self._end = self._read(), [], 0, 0
        while self._end < rows.stop:
            while self._window and self._begin + len(self._window[0]) <= rows.start:
                self._begin += len(self._window.pop(0))
            with arrow_errors("parquet"):
                batch = next(self._batches, None)
            if batch is None:
                raise unreadable(f"the parquet file has fewer files in `{self._name}` than it says: write it again")
            self._window.append(batch)
            self._end += len(batch)

    def read(self, row: int) -> bytes:
        """The bytes of a file of the window."""
        place = row - self._begin
        for batch in self._window:
            if place < len(batch):
                break
            place -= len(batch)
        value = batch[place]
        if not value.is_valid and not self._optional:
            raise self._without_bytes(row)
        content: bytes = value.as_buffer().to_pybytes() if value.is_valid else b""
        return content

    def _read(self) -> Iterator[pa.Array]:
        file = pa.parquet.ParquetFile(self._path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        for batch in file.iter_batches(_BATCH, columns=[self._column], use_threads=False):
            column = batch.column(0)
            if pa.types.is_struct(column.type):
                content = pa.compute.struct_field(column, "bytes")
                without = pa.compute.and_(column.is_valid(), content.is_null())
                if self._optional and pa.compute.any(without).as_py():
                    raise self._without_bytes(self._end + without.index(True).as_py())
                column = content
            yield column

    def _without_bytes(self, row: int) -> UserError:
        return UserError(
            "wrong_type",
            f"column `{self._name}` has no bytes at row {row}: write the files themselves into the file instead of "
            "their paths, or leave this row out",
        )
