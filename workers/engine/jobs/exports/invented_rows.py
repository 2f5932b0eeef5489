"""The check of an export that has no dataset, on rows as a person would send them and as the engine reads them."""

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.reports.report import OnnxCheck
from app.contracts.resources.manifests import ArrayInput, InputTransform
from app.contracts.resources.raw_rows import RawInput
from app.contracts.resources.row_layouts import rows_shape
from app.contracts.resources.tables import InputEncoding
from workers.engine.data.formats.common import Array
from workers.engine.data.rows.joined import InputLayout, Shape, joined
from workers.engine.data.rows.layout import arranged
from workers.engine.data.tables.category import boolean_keys, encoded, whole_number_keys
from workers.engine.data.tables.missing import filled
from workers.engine.data.transform import invert
from workers.engine.evaluation.examples import RawModel, network_outputs
from workers.engine.export.check import check_onnx
from workers.engine.export.raw_student import RawStudent

CHECKED_ROWS = 64
_SHARE_MISSING = 0.1


def check_on_invented_rows(path: Path, student: RawStudent) -> OnnxCheck:
    """Compare a file with the engine. Raises UserError `export_mismatch`."""
    raw, outputs = invented_rows(student)
    return check_onnx(path, raw, outputs, student.outputs)


def invented_rows(student: RawStudent) -> tuple[dict[str, Array], dict[str, Tensor]]:
    """(rows as a person sends them by the graph's names [64, …], the engine's outputs for them by task [64, size])."""
    raw, rows = {}, {}
    for name, public in student.input_names.items():
        raw[public], rows[name] = _invented(student, name, CHECKED_ROWS)
        shape, last = student.shapes[name], student.inputs[name].layout == "channels_last"
        # The engine takes the rows of such a model with the channels last, where no dataset has moved them.
        rows[name] = (rows[name].movedim(1, -1) if last else rows[name]).reshape(CHECKED_ROWS, *shape)
    forward = partial(network_outputs, copy.deepcopy(student.network).cpu())
    model = RawModel(InputLayout(student.shapes), student.inputs, forward)
    return raw, model.predict(joined(list(rows.values())))


def _invented(student: RawStudent, name: str, count: int) -> tuple[Array, Tensor]:
    """(rows of one input as a person sends them [count, *form.shape], the dataset's rows that they are)."""
    draw = np.random.default_rng(0)
    form, transform = student.forms[name], student.inputs[name]
    encoding = transform.encoding
    if encoding is not None and encoding.categories is not None:
        return _categories(draw, form, encoding, encoding.categories, count)
    raw = _numbers(draw, form, transform, student.shapes[name], count)
    fills = encoding is not None and encoding.missing is not None and raw.dtype.kind == "f"
    if fills:
        raw[draw.random(raw.shape) < _SHARE_MISSING] = np.nan
    spec = ArrayInput(kind="array", shape=form.arranged, layout="channels_last" if form.channels_last else None)
    rows = arranged(name, spec, raw.reshape(count, -1))
    if encoding is not None and encoding.missing is not None and encoding.fill is not None:
        rows = filled(rows, np.array(encoding.fill), encoding.missing)
    return raw, torch.from_numpy(np.ascontiguousarray(rows.astype(form.rows)))


def _numbers(draw: np.random.Generator, form: RawInput, transform: InputTransform, shape: Shape, count: int) -> Array:
    """Numbers that are normal ones after the transform, as far as the type of the file has such."""
    standard = torch.from_numpy(draw.normal(size=(count, *rows_shape(transform, shape))))
    numbers = invert(standard, transform, torch.float64).numpy().reshape(count, -1)
    numbers = numbers[:, : int(np.prod(form.arranged))]  # without indicators
    if form.channels_last:
        channels, *sides = (form.arranged[-1], *form.arranged[:-1])
        numbers = np.moveaxis(numbers.reshape(count, channels, *sides), 1, -1)
    dtype = np.dtype(form.dtype)
    if dtype.kind != "f":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        numbers = np.clip(np.rint(numbers), low, high)
    return numbers.reshape(count, *form.shape).astype(dtype)


def _categories(
    draw: np.random.Generator,
    form: RawInput,
    encoding: InputEncoding,
    categories: Sequence[Sequence[str]],
    count: int,
) -> tuple[Array, Tensor]:
    """Categories, and others at the last place."""
    places = [draw.integers(0, len(names) + 1, size=count) for names in categories]
    columns = [_values(form, names)[place] for names, place in zip(categories, places, strict=True)]
    raw = np.stack(columns, axis=1).reshape(count, *form.shape)
    read = [_read_places(form, names)[place] for names, place in zip(categories, places, strict=True)]
    return raw, encoded(read, [len(names) + 1 for names in categories], encoding.encoding)


def _values(form: RawInput, names: Sequence[str]) -> Array:
    """What a person sends for each place [k + 1]; another value where a category has none of the file's type."""
    if form.dtype == "string":
        return np.array([*names, ""], dtype=object)
    keys = _keys(form, names)
    other = next(number for number in range(len(keys) + 2) if number not in keys)
    by_place = {place: number for number, place in keys.items()}
    return np.array([by_place.get(place, other) for place in range(len(names) + 1)]).astype(form.dtype)


def _read_places(form: RawInput, names: Sequence[str]) -> NDArray[np.int64]:
    """The place that each of `_values` is read as."""
    if form.dtype == "string":
        return np.arange(len(names) + 1)
    keys = _keys(form, names)
    return np.array([keys.get(int(number), len(names)) for number in _values(form, names).tolist()], dtype=np.int64)


def _keys(form: RawInput, names: Sequence[str]) -> dict[int, int]:
    return boolean_keys(names) if form.dtype == "bool" else whole_number_keys(names)
