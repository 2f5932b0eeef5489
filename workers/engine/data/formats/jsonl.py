"""JSON lines: one object a row, read strictly."""

import io
import json
from pathlib import Path
from typing import Any

from workers.engine.data.formats.common import Array, as_words, check_lines, no_row, refuse, require, stacked


def _number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def read_jsonl(path: Path, wanted: set[str]) -> dict[str, Array]:
    """The fields of these names of all rows. Raises UserError as `read_arrays` does."""
    check_lines(path)
    rows: list[dict[str, Any]] = []
    with path.open("rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    rows.append(_json_row(line, number))
        except UnicodeDecodeError:
            raise refuse(f"line {len(rows) + 1} or later is not UTF-8") from None
    if not rows:
        raise no_row()
    columns = require(wanted, sorted({key for row in rows for key in row}))
    return {name: _json_column(name, [row.get(name) for row in rows]) for name in columns}


def _json_row(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_constant=_number, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError):
        raise refuse(f"line {number} is no strict JSON (no NaN, no key twice)") from None
    if not isinstance(row, dict):
        raise refuse(f"line {number} is no JSON object")
    return row


def _json_column(name: str, values: list[Any]) -> Array:
    if all(isinstance(value, str) or value is None for value in values) and any(values):
        return as_words(values)
    if any(isinstance(value, dict | str) for value in values):
        raise refuse(f"`{name}` mixes numbers with text or objects")
    return stacked(name, values)
