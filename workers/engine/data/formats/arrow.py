"""Parquet and columns of Arrow. Imported only where such a file is read: Arrow starts a thread at import."""

from collections.abc import Set
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from workers.engine.data.formats.arrow_errors import arrow_errors
from workers.engine.data.formats.arrow_files import encoded_files
from workers.engine.data.formats.arrow_written import written_column
from workers.engine.data.formats.common import (
    MAX_BYTES,
    Array,
    as_float_array,
    as_strings,
    no_lists,
    no_texts,
    require_columns,
    unreadable,
)
from workers.engine.data.formats.text_column import ListColumn, TextColumn
from workers.engine.data.formats.written import FileColumns

_READ = "booleans, decimals, dates, times, numbers, strings and lists of numbers are read"


def read_parquet(
    path: Path,
    columns: set[str],
    text_columns: Set[str] = frozenset(),
    categories: Set[str] = frozenset(),
    encoded: Set[str] = frozenset(),
    texts: Set[str] = frozenset(),
    lists: Set[str] = frozenset(),
    masks: Set[str] = frozenset(),
) -> FileColumns:
    """The named columns of a parquet file; booleans, dates and times of `text_columns` as text.

    Raises UserError as `read_columns` does.
    """
    with arrow_errors("parquet"):
        file = pa.parquet.ParquetFile(path)
        names = require_columns(columns, file.schema_arrow.names)
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        if size > MAX_BYTES or file.metadata.num_rows * len(names) * 8 > MAX_BYTES:
            raise unreadable(f"the file claims {size} bytes and {file.metadata.num_rows} rows: too large")
        files = {
            name: encoded_files(name, path, file, optional=name in masks) for name in names if name in encoded | masks
        }
        table = file.read(columns=[name for name in names if name not in encoded | masks])
        arrays = columns_of(
            table, [name for name in names if name not in encoded | masks | texts | lists], text_columns
        )
        found = {name: text_column(name, table.column(name)) for name in names if name in texts}
        rows = {name: list_column(name, table.column(name)) for name in names if name in lists}
        written = {name: written_column(table.column(name), arrays[name]) for name in arrays if name in categories}
    return FileColumns(arrays, written, files, found, rows, frozenset(file.schema_arrow.names))


def text_column(name: str, column: pa.ChunkedArray) -> TextColumn:
    """A column of texts. Raises UserError `wrong_type`."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise no_texts(name, f"the type {kind}")
    return TextColumn(len(column), lambda rows: column.slice(rows.start, len(rows)).to_pylist())


def list_column(name: str, column: pa.ChunkedArray) -> ListColumn:
    """A column of lists. Raises UserError `wrong_type`."""
    if not _is_list(column.type):
        raise no_lists(name, f"the type {column.type}")
    return ListColumn(len(column), lambda rows: column.slice(rows.start, len(rows)).to_pylist())


def columns_of(table: pa.Table, names: list[str], text_columns: Set[str]) -> dict[str, Array]:
    """The named columns of a table as arrays. Raises UserError as `read_columns` does."""
    return {name: _column(name, table.column(name), name in text_columns) for name in names}


def _column(name: str, column: pa.ChunkedArray, as_text: bool) -> Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if as_text and (pa.types.is_boolean(kind) or pa.types.is_temporal(kind)):
        column, kind = column.cast(pa.string()), pa.string()
    if pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        kind = pa.int8() if pa.types.is_boolean(kind) else pa.float64()
        column = column.cast(kind)
    if pa.types.is_temporal(kind):
        return _seconds(column, kind)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        # An integer column with missing values becomes floating point, with NaN.
        return np.asarray(column.to_numpy())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return as_strings(column.to_pylist())
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if _is_list(kind):
        return _rows(name, column)
    raise unreadable(f"column `{name}` is of type {kind}: {_READ}")


def _seconds(column: pa.ChunkedArray, kind: pa.DataType) -> Array:
    """Dates and timestamps as seconds since 1970-01-01 UTC, times of day and durations as seconds: float64, NaN."""
    if pa.types.is_date(kind):
        counts = column.cast(pa.timestamp("us"))
    elif pa.types.is_time(kind):
        counts = column.cast(pa.time64("us"), safe=False)
    elif pa.types.is_duration(kind):
        counts = column.cast(pa.duration("us"), safe=False)
    else:
        counts = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    microseconds = counts.cast(pa.int64())
    seconds = np.asarray(microseconds.to_numpy(), dtype=np.float64) / 1e6
    if getattr(kind, "unit", None) != "ns":
        return seconds
    rest = pa.compute.subtract(column.cast(pa.int64()), pa.compute.multiply(microseconds, 1000))
    return seconds + np.asarray(rest.to_numpy(), dtype=np.float64) / 1e9


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _rows(name: str, column: pa.ChunkedArray) -> Array:
    """Lists of numbers; without a copy where no list is missing and all have the same length."""
    shape, values = [len(column)], column
    while _is_list(values.type) and values.null_count == 0:
        lengths = pa.compute.unique(pa.compute.list_value_length(values))
        if len(lengths) != 1:
            break
        shape.append(lengths[0].as_py())
        values = pa.compute.list_flatten(values)
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return np.asarray(values.to_numpy()).reshape(shape)
    return as_float_array(name, column.to_pylist())
