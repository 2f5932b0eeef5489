"""JSON lines: one object for each row, parsed strictly."""

import io
import json
from collections.abc import Set
from math import prod
from pathlib import Path
from typing import Any

from workers.engine.data.formats.common import (
    Array,
    as_float_array,
    as_strings,
    empty_file,
    no_lists,
    no_texts,
    require_columns,
    unreadable,
)
from workers.engine.data.formats.streams import CHUNK, ChunkReader, check_lines, chunks
from workers.engine.data.formats.text_column import ListColumn, TextColumn
from workers.engine.data.formats.written import FileColumns, FileType, Written, flat_values, written_values


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def read_jsonl(
    path: Path,
    columns: set[str],
    text_columns: Set[str] = frozenset(),
    categories: Set[str] = frozenset(),
    texts: Set[str] = frozenset(),
    lists: Set[str] = frozenset(),
) -> FileColumns:
    """The named fields of all rows; booleans of `text_columns` as text. Raises UserError as `read_columns` does."""
    check_lines(path)
    rows: list[dict[str, Any]] = []
    with io.TextIOWrapper(io.BufferedReader(ChunkReader(chunks(path)), CHUNK), encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    rows.append(_json_row(line, number))
        except UnicodeDecodeError:
            raise unreadable(f"line {len(rows) + 1} or later is not UTF-8: save the file as UTF-8") from None
    if not rows:
        raise empty_file()
    names = require_columns(columns, sorted({key for row in rows for key in row}))
    values = {name: [row.get(name) for row in rows] for name in names}
    arrays = {
        name: _json_column(name, values[name], name in text_columns) for name in names if name not in texts | lists
    }
    written = {name: _written(values[name], arrays[name]) for name in names if name in categories}
    found = {name: _texts(name, values[name]) for name in names if name in texts}
    return FileColumns(
        arrays, written, texts=found, lists={name: _lists(name, values[name]) for name in names if name in lists}
    )


def _lists(name: str, values: list[Any]) -> ListColumn:
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, list):
            raise no_lists(name, f"{type(value).__name__} at row {row}")
    return ListColumn.of(values)


def _texts(name: str, values: list[Any]) -> TextColumn:
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise no_texts(name, f"{type(value).__name__} at row {row}")
    return TextColumn.of(values)


def _written(rows: list[Any], array: Array) -> Written:
    values = list(flat_values(rows, prod(array.shape[1:])))
    return written_values(values, array.shape, _type_of(values))


def _type_of(values: list[object]) -> FileType:
    if all(isinstance(value, bool) for value in values):
        return "bool"
    return "number" if all(isinstance(value, int | float) or value is None for value in values) else "text"


def _json_row(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_constant=_refuse_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError):
        raise unreadable(f"line {number} is not strict JSON (no NaN: write null; no duplicate keys)") from None
    if not isinstance(row, dict):
        raise unreadable(f"line {number} is not a JSON object: write one object a line")
    return row


def _json_column(name: str, values: list[Any], as_text: bool) -> Array:
    given = [value for value in values if value is not None]
    if as_text and given and all(isinstance(value, bool) for value in given):
        return as_strings(None if value is None else str(value).lower() for value in values)
    if all(isinstance(value, str) or value is None for value in values) and any(values):
        return as_strings(values)
    values = [None if value == "" else value for value in values]
    if any(isinstance(value, dict | str) for value in values):
        raise unreadable(f"`{name}` mixes numbers with text or objects: write all values of a column in one type")
    return as_float_array(name, values)
