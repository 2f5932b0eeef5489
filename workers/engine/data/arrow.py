"""Parquet and CSV by Arrow. Imported only where such a file is read: Arrow starts a thread at import."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from workers.engine.data.tables import MOST_BYTES, MOST_LINE_BYTES, Array, check_lines, refuse, require, stacked


@contextmanager
def _arrow_errors(what: str) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise refuse(f"the {what} file cannot be read: {str(error).splitlines()[0][:300]}") from None


def read_parquet(path: Path, wanted: set[str]) -> dict[str, Array]:
    """Its columns of these names. Raises UserError as `tables.read_arrays` does."""
    with _arrow_errors("parquet"):
        file = pa.parquet.ParquetFile(path)
        columns = require(wanted, file.schema_arrow.names)
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        told = sum(group.total_byte_size for group in groups)
        if told > MOST_BYTES or file.metadata.num_rows * len(columns) * 8 > MOST_BYTES:
            raise refuse(f"the file claims {told} bytes and {file.metadata.num_rows} rows: beyond the bound")
        return _columns(file.read(columns=columns), columns)


def read_csv(path: Path, wanted: set[str]) -> dict[str, Array]:
    """Its columns of these names. Raises UserError as `tables.read_arrays` does."""
    check_lines(path)
    with _arrow_errors("csv"):
        table = pa.csv.read_csv(
            path,
            read_options=pa.csv.ReadOptions(block_size=MOST_LINE_BYTES),
            convert_options=pa.csv.ConvertOptions(
                null_values=["", "null", "NULL", "NaN", "nan", "NA"], strings_can_be_null=True
            ),
        )
        return _columns(table, require(wanted, table.column_names))


def _columns(table: pa.Table, names: list[str]) -> dict[str, Array]:
    return {name: _column(name, table.column(name)) for name in names}


def _column(name: str, column: pa.ChunkedArray) -> Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_boolean(kind):
        column, kind = column.cast(pa.int8()), pa.int8()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        # A missing integer makes the column floating, with NaN for what is missing.
        return np.asarray(column.to_numpy())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array([value if value is not None else "" for value in column.to_pylist()], dtype=np.str_)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return stacked(name, column.to_pylist())
    raise refuse(f"column `{name}` is of type {kind}: numbers, strings and lists of numbers are read")
