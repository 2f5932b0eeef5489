"""Columns of Arrow as they stand in the file. Imported only where such a file is read, as `arrow` is."""

from datetime import datetime
from functools import cache
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from workers.engine.data.formats.common import Array
from workers.engine.data.formats.written import FileType, Written, flat_values, sendable, texts_of, written_values

_TO_MICROSECONDS = len("2024-01-31 10:00:00.000000")


def written_column(column: pa.ChunkedArray, array: Array) -> Written:
    """A column of a table that was read as `array` [N, …]."""
    kind = column.type
    if pa.types.is_nested(kind):
        rows = column.to_pylist()
        return written_values(flat_values(rows, prod(array.shape[1:])), array.shape, "number")
    distinct, codes = distinct_values(column)
    codes = np.where(codes < 0, np.int32(len(distinct)), codes)
    texts = cache(lambda: [*_texts(distinct), texts_of(None)])
    return Written(texts, codes.reshape(array.shape), _type_of(distinct.type, column.null_count))


def distinct_values(column: pa.ChunkedArray) -> tuple[pa.Array, Array]:
    """(the distinct values without null, for each row its place among them, int32 [N], -1 where it is null)."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return encoded.dictionary, codes


def _type_of(kind: pa.DataType, missing: int) -> FileType:
    if pa.types.is_boolean(kind):
        return "text" if missing else "bool"
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)
    return "number" if any(holds(kind) for holds in numbers) else "text"


def _texts(distinct: pa.Array) -> list[tuple[str, ...]]:
    """The texts of each value: as pyarrow's Python value has it first, then as numpy and Arrow write it."""
    kind = distinct.type
    arrow = distinct.cast(pa.string()).to_pylist()
    try:
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            numbers = distinct.to_numpy(zero_copy_only=False)
            found: list[tuple[str, ...]] = [(str(number.item()), str(number)) for number in numbers]
        else:
            found = _moments(distinct) if pa.types.is_timestamp(kind) else [texts_of(v) for v in _values(distinct)]
    except (ValueError, OverflowError):  # years that Python's dates do not have
        return [sendable(text) for text in arrow]
    return [sendable(*texts, text) for texts, text in zip(found, arrow, strict=True)]


def _values(distinct: pa.Array) -> list[Any]:
    """Values as Python has them, to the microsecond: for finer ones pyarrow needs another library."""
    kind = distinct.type
    if pa.types.is_duration(kind):
        distinct = distinct.cast(pa.duration("us"), safe=False)
    elif pa.types.is_time(kind):
        distinct = distinct.cast(pa.time64("us"), safe=False)
    return list(distinct.to_pylist())


def _moments(distinct: pa.Array) -> list[tuple[str, ...]]:
    kind = distinct.type
    moments = distinct.cast(pa.timestamp("us", tz=kind.tz), safe=False).to_pylist()
    finer = distinct.cast(pa.int64()).to_numpy() % 1000 if kind.unit == "ns" else np.zeros(len(moments), np.int64)
    return [_moment(moment, rest) for moment, rest in zip(moments, finer.tolist(), strict=True)]


def _moment(moment: datetime, nanoseconds: int) -> tuple[str, ...]:
    """The texts of a moment with so many nanoseconds beside its microseconds."""
    if not nanoseconds:
        return texts_of(moment)
    texts = [moment.isoformat(separator, "microseconds") for separator in (" ", "T")]
    return tuple(f"{text[:_TO_MICROSECONDS]}{nanoseconds:03}{text[_TO_MICROSECONDS:]}" for text in texts)
