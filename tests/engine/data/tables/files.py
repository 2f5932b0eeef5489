"""One table of Python values as a file of each format."""

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

FORMATS = ("npz", "parquet", "csv", "jsonl")
Table = dict[str, list[Any]]


def written(folder: Path, kind: str, table: Table) -> Path:
    """The table as a program of its format would write it; None is null, an empty field or NaN."""
    path = folder / f"data.{kind}"
    if kind == "npz":
        np.savez(path, **{name: _array(values) for name, values in table.items()})  # type: ignore[arg-type]
    elif kind == "parquet":
        pa.parquet.write_table(pa.table({name: pa.array(values) for name, values in table.items()}), path)
    elif kind == "csv":
        rows = zip(*table.values(), strict=True)
        lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
        path.write_text("\n".join([",".join(table), *lines]) + "\n")
    else:
        rows = zip(*table.values(), strict=True)
        lines = [json.dumps(dict(zip(table, map(_json, row), strict=True))) for row in rows]
        path.write_text("\n".join(lines) + "\n")
    return path


def _array(values: list[Any]) -> NDArray[Any]:
    given = [value for value in values if value is not None]
    if any(isinstance(value, date) for value in given):
        return np.array(values, "datetime64[us]")
    if any(isinstance(value, str) for value in given):
        return np.array([value or "" for value in values])
    if any(isinstance(value, Decimal) for value in given):
        values = [None if value is None else float(value) for value in values]
    return np.array(values, float) if None in values else np.array(values)


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value
