"""Rows as files: a csv as that of the dataset, and npz."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from app.contracts.resources.tables import CsvOptions
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.npz import member_names, read_npz
from workers.engine.data.formats.read import read_columns
from workers.engine.serving.rows.columns import inputs_of, needed
from workers.engine.serving.rows.documents import check_rows
from workers.engine.serving.rows.errors import at, errors_of_file, pointer
from workers.engine.serving.rows.forms import InputForm


def read_csv(path: Path, forms: Mapping[str, InputForm], options: CsvOptions | None) -> dict[str, Array]:
    """The inputs [n, *shape] of a csv file, read as a dataset's is. Pointers name row (from 0) and column."""
    options = options or CsvOptions()
    columns, text = needed(forms)
    with errors_of_file(columns, f" separated by {json.dumps(options.delimiter)}"):
        arrays = read_columns(path, "csv", columns, text, options).arrays
    check_rows(len(next(iter(arrays.values()))), "")
    return inputs_of(
        forms, arrays, lambda column, index: pointer(*index[:1], column, *index[1:]) if index else "", options
    )


def read_arrays_of_npz(path: Path, forms: Mapping[str, InputForm]) -> dict[str, Array]:
    """The inputs [n, *shape] of an npz file, whose keys are the names of the inputs, or those of the dataset's file."""
    with errors_of_file(forms):
        there = member_names(path)
        by_name = all(name in there for name in forms)
        chosen = {name: _named(form) if by_name else form for name, form in forms.items()}
        arrays = read_npz(path, needed(chosen)[0]).arrays
    counts = {name: len(array) for name, array in arrays.items()}
    for name, count in counts.items():
        check_rows(count, pointer(name))
    if len(set(counts.values())) > 1:
        raise at("", "ragged", f"expected equally many rows in all arrays, found {counts}: fill in the shorter ones")
    return inputs_of(chosen, arrays, lambda column, index: pointer(column, *index), CsvOptions())


def _named(form: InputForm) -> InputForm:
    """The form of a whole input, under its own name."""
    return replace(form, columns=(form.name,))
