"""Rows as files: a csv as that of the dataset, and npz. What they decompress to is bounded before it is read."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, Final

from app.contracts.resources.tables import CsvOptions
from app.contracts.wire.predictions import MOST_ROWS
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.npz import array_headers, member_names, read_npz
from workers.engine.data.formats.read import read_columns
from workers.engine.data.formats.streams import CHUNK, ChunkReader, chunks, compression_of
from workers.engine.serving.rows.columns import inputs_of, needed
from workers.engine.serving.rows.documents import check_rows
from workers.engine.serving.rows.errors import at, errors_of_file, pointer
from workers.engine.serving.rows.forms import InputForm

MOST_DECODED_BYTES: Final = 64 << 20
"""Largest size in memory of the arrays of one request: deflate makes 1 KiB of a MiB of zeros."""
csv.field_size_limit(MOST_DECODED_BYTES)  # of the whole process; by default 131,072 characters, less than a long text


def read_csv(path: Path, forms: Mapping[str, InputForm], options: CsvOptions | None) -> dict[str, Array]:
    """The inputs [n, *shape] of a csv file, read as a dataset's is. Pointers name row (from 0) and column."""
    options = options or CsvOptions()
    columns = needed(forms)
    if kind := compression_of(path):
        detail = f"expected the text of a csv, found it compressed by {kind}: send it uncompressed"
        raise at("", "unreadable", detail)
    _check_lines(path, options)
    with errors_of_file(columns.all, f" separated by {json.dumps(options.delimiter)}"):
        found = read_columns(path, "csv", columns.all, columns.categories, options, texts=columns.texts)
    check_rows(found.rows, "")
    columns_found: dict[str, Array | Sequence[Any]] = {
        **found.arrays,
        **{name: each.read(range(len(each))) for name, each in found.texts.items()},
    }
    return inputs_of(forms, columns_found, _row_and_column, options)


def _row_and_column(column: str, index: tuple[int, ...]) -> str:
    return pointer(*index[:1], column, *index[1:]) if index else ""


def _check_lines(path: Path, options: CsvOptions) -> None:
    """Raises RowErrors `too_many_rows` before the file is read: each row of a column of text takes as much memory as
    the longest.
    """
    with errors_of_file(()), io.BufferedReader(ChunkReader(chunks(path, options.encoding)), CHUNK) as binary:
        lines = io.TextIOWrapper(binary, encoding="utf-8", errors="replace", newline="")
        try:
            rows = 0 - options.header
            for fields in csv.reader(lines, delimiter=options.delimiter):
                rows += bool(fields)
                if rows > MOST_ROWS:
                    detail = f"expected at most {MOST_ROWS} rows, found more: send them in several requests"
                    raise at("", "too_many_rows", detail)
        except csv.Error:
            detail = f"expected fields of at most {csv.field_size_limit()} characters: leave out longer columns"
            raise at("", "unreadable", detail) from None


def read_arrays_of_npz(path: Path, forms: Mapping[str, InputForm]) -> dict[str, Array]:
    """The inputs [n, *shape] of an npz file, whose keys are the names of the inputs, or those of the dataset's file."""
    with errors_of_file(forms):
        there = member_names(path)
        by_name = all(name in there for name in forms)
        chosen = {name: _named(form) if by_name else form for name, form in forms.items()}
        columns = needed(chosen).all
        headers = array_headers(path, columns)
        counts = {name: shape[0] for name, (shape, _) in headers.items()}
        for name, count in counts.items():
            check_rows(count, pointer(name))
        if len(set(counts.values())) > 1:
            detail = f"expected equally many rows in all arrays, found {counts}: fill in the shorter ones"
            raise at("", "ragged", detail)
        size = sum(prod(shape) * dtype.itemsize for shape, dtype in headers.values())
        if size > MOST_DECODED_BYTES:
            detail = f"expected arrays of at most {MOST_DECODED_BYTES} bytes together, found {size}: send fewer rows"
            raise at("", "too_many_rows", detail)
        arrays = read_npz(path, columns).arrays
    return inputs_of(chosen, arrays, lambda column, index: pointer(column, *index), CsvOptions())


def _named(form: InputForm) -> InputForm:
    """The form of a whole input, under its own name."""
    return replace(form, columns=(form.name,))
