"""Rows for an export that has no dataset: as a person would send them, and as the engine reads them."""

import copy
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.resources.manifests import InputTransform
from app.contracts.resources.raw_rows import RawInput, Spellings
from app.contracts.resources.row_layouts import rows_shape
from app.contracts.resources.tables import InputEncoding
from workers.engine.data.formats.common import Array
from workers.engine.data.rows.joined import InputLayout, Shape, joined
from workers.engine.data.rows.layout import arranged
from workers.engine.data.tables.category import encoded
from workers.engine.data.tables.keys import boolean_keys, places_of, whole_number_keys
from workers.engine.data.tables.missing import filled
from workers.engine.data.tables.text import canonical
from workers.engine.data.transform import invert
from workers.engine.evaluation.examples import RawModel, network_outputs
from workers.engine.export.causes import CheckedRows
from workers.engine.export.raw_student import RawStudent

CHECKED_ROWS = 64
_SHARE_MISSING = 0.1


def invented_rows(student: RawStudent) -> tuple[CheckedRows, dict[str, Tensor]]:
    """(rows as a person sends them and as the engine reads them [64, …], the engine's outputs for them by task
    [64, size]).
    """
    raw, rows = {}, {}
    for name in student.inputs:
        raw[name], rows[name] = _invented(student, name, CHECKED_ROWS)
    read = {name: each.numpy() for name, each in rows.items()}
    return CheckedRows(student, raw, read), engine_outputs(student, rows)


def engine_outputs(student: RawStudent, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The engine's outputs by task [n, size], on the CPU, for rows of a dataset by input [n, *row_shape]."""
    taken = []
    for name, transform in student.inputs.items():
        # The engine takes the rows of such a model with the channels last, where no dataset has moved them.
        each = rows[name].movedim(1, -1) if transform.layout == "channels_last" else rows[name]
        taken.append(each if transform.tokens is not None else each.reshape(len(each), *student.shapes[name]))
    forward = partial(network_outputs, copy.deepcopy(student.network).cpu())
    return RawModel(InputLayout(student.shapes), student.inputs, forward).predict(joined(taken))


def _invented(student: RawStudent, name: str, count: int) -> tuple[Array, Tensor]:
    """(rows of one input as a person sends them [count, *form.shape], the dataset's rows that they are)."""
    draw = np.random.default_rng(0)
    form, transform = student.forms[name], student.inputs[name]
    encoding = transform.encoding
    if encoding is not None and encoding.categories is not None:
        return _categories(draw, form, encoding, encoding.categories, count)
    if form.tokens is not None:
        ids = _ids(draw, form.tokens, (count, *form.shape))
        return ids, torch.from_numpy(ids.astype(form.rows))
    raw = _numbers(draw, form, transform, student.shapes[name], count)
    fills = encoding is not None and encoding.missing is not None and raw.dtype.kind == "f"
    if fills:
        raw[draw.random(raw.shape) < _SHARE_MISSING] = np.nan
    spec = ArrayInput(kind="array", shape=form.arranged, layout="channels_last" if form.channels_last else None)
    rows = arranged(name, spec, raw.reshape(count, -1))
    if encoding is not None and encoding.missing is not None and encoding.fill is not None:
        rows = filled(rows, np.array(encoding.fill), encoding.missing)
    return raw, torch.from_numpy(np.ascontiguousarray(rows.astype(form.rows)))


def _ids(draw: np.random.Generator, tokens: TokenEncoding, shape: tuple[int, ...]) -> Array:
    """Rows of different lengths of any tokens, filled up."""
    ids = draw.integers(0, tokens.vocabulary, size=shape)
    ids[ids == tokens.padding] = (tokens.padding + 1) % tokens.vocabulary
    lengths = draw.integers(1, shape[1] + 1, size=shape[0])
    return np.where(np.arange(shape[1]) < lengths[:, None], ids, tokens.padding)


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
    """Categories in every accepted spelling, and values that are unknown categories."""
    dtype = np.dtype(object if form.dtype == "string" else form.dtype)
    columns, places = [], []
    for i, names in enumerate(categories):
        written = _written(form, names, form.spellings[i] if form.spellings else {})
        chosen = draw.integers(0, len(written), size=count)
        columns.append(np.array([value for value, _ in written], dtype)[chosen])
        places.append(np.array([place for _, place in written], np.int64)[chosen])
    raw = np.stack(columns, axis=1).reshape(count, *form.shape)
    return raw, encoded(places, [len(names) + 1 for names in categories], encoding.encoding)


def _written(form: RawInput, names: Sequence[str], spelled: Spellings) -> list[tuple[str | int, int]]:
    """What a person may send, and the place that the engine reads it as."""
    other = len(names)
    if form.dtype == "string":
        places = places_of([canonical(name) for name in names], names).tolist()
        means = {text: other if name is None else names.index(name) for text, name in spelled.items()}
        return [*({**dict(zip(names, places, strict=True)), **means}).items(), ("", other)]
    if form.dtype == "bool":
        keys = boolean_keys(names)
        return [(number, keys.get(number, other)) for number in (0, 1)]
    keys = whole_number_keys(names)
    unseen = next(number for number in range(len(keys) + 1) if number not in keys)
    return [*keys.items(), (unseen, other)]
