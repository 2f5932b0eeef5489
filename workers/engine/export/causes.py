"""Why an exported file answers otherwise than the engine: the input that it does not read as the reader did."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper

from workers.engine.common.onnx_session import onnx_session
from workers.engine.data.formats.common import Array
from workers.engine.export.raw_student import RawStudent
from workers.engine.export.row_nodes import element_type, rows_name

_ROUNDING = 1e-6
_SHOWN = 60


@dataclass(frozen=True)
class CheckedRows:
    """The rows with which a file is checked: `raw` [n, …] as a person sends them and `read` [n, …] as the engine reads
    them, both by the student's names of the inputs. `place`: how a message names one of them.
    """

    student: RawStudent
    raw: Mapping[str, Array]
    read: Mapping[str, Array]
    place: Callable[[int], str] = "invented row {}".format

    @property
    def feeds(self) -> dict[str, Array]:
        """The raw rows by the graph's names."""
        return {public: self.raw[name] for name, public in self.student.input_names.items()}


def cause_of(path: Path, rows: CheckedRows) -> str | None:
    """Which column the file reads otherwise than the engine, with an example and the number of such rows; None where it
    reads all of them alike.
    """
    for name, made in _made_rows(path, rows).items():
        count = len(made)
        flat, expected = made.reshape(count, -1), rows.read[name].reshape(count, -1)
        differs = ~np.isclose(flat, expected, rtol=_ROUNDING, atol=0, equal_nan=True)
        if differs.any():
            return _told(name, rows, differs)
    return None


def _made_rows(path: Path, rows: CheckedRows) -> dict[str, Array]:
    """What the file makes of the raw rows: those of the dataset, by input."""
    model = onnx.load(path)
    student = rows.student
    made = {name: rows_name(public) for name, public in student.input_names.items()}
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(made[name], element_type(student.forms[name].rows), None) for name in made
    )
    session = onnx_session(model.SerializeToString(), torch.get_num_threads())
    return dict(zip(made, session.run(list(made.values()), rows.feeds), strict=True))


def _told(name: str, rows: CheckedRows, differs: NDArray[np.bool_]) -> str:
    """`differs` [n, numbers of a row of the dataset]."""
    row, place = (int(each[0]) for each in np.nonzero(differs))
    column, value, same = _source(name, rows, row, place)
    wrong = int(differs[:, same].any(axis=1).sum())
    return (
        f"{column} of the input `{name}` is read otherwise on {wrong} of {len(differs)} rows, such as "
        f"`{str(value)[:_SHOWN]}` at {rows.place(row)}"
    )


def _source(name: str, rows: CheckedRows, row: int, place: int) -> tuple[str, object, list[int]]:
    """(the column from which the number at a place of a row comes, its value, all places that come from it)."""
    form, transform = rows.student.forms[name], rows.student.inputs[name]
    encoding = transform.encoding
    raw = rows.raw[name][row].reshape(form.arranged)
    if encoding is not None and encoding.categories is not None:
        sizes = [len(names) + 1 if encoding.encoding == "one_hot" else 1 for names in encoding.categories]
        column = int(np.searchsorted(np.cumsum(sizes), place, side="right"))
        first = sum(sizes[:column])
        return f"the column `{encoding.columns[column]}`", raw[column], [*range(first, first + sizes[column])]
    values = (np.moveaxis(raw, -1, 0) if form.channels_last else raw).reshape(-1)
    at = place % values.size  # behind the numbers stand their indicators
    columns = transform.columns
    which = f"the column `{columns[at]}`" if columns is not None and len(columns) == values.size else f"number {at}"
    return which, values[at], [at] if place == at else [at, place]
