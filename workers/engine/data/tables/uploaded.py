"""What a person sends to an exported student: form and sample rows of inputs of numbers and of categories."""

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.resources.manifests import ArrayInput, DatasetFormat
from app.contracts.resources.raw_rows import RawInput, RawType
from app.contracts.resources.tables import InputEncoding
from workers.engine.data.formats.common import Array
from workers.engine.data.rows.uploaded import MOST_KEPT, Uploaded, UploadedRows
from workers.engine.data.tables.category import whole_number_keys
from workers.engine.data.tables.text import label_text

_LARGEST_WHOLE = 2.0**53
_TYPES: tuple[RawType, ...] = get_args(RawType)


def numbers_as_uploaded(
    raw: Array, spec: ArrayInput, kind: DatasetFormat, dtype: torch.dtype, kept: NDArray[np.int64]
) -> UploadedRows:
    """Of an input of numbers. `raw`: [N, …] as the file has them, before they are arranged; `dtype`: that of the rows
    that were made of them.
    """
    shape = raw.shape[1:] if kind == "npz" else raw.shape[1:] or (1,)
    form = RawInput(
        dtype=_type_of_numbers(raw, kind, spec),
        shape=shape,
        arranged=spec.shape or shape or (1,),
        channels_last=spec.layout == "channels_last",
        rows="float64" if dtype == torch.float64 else "float32",
    )
    return UploadedRows(form, raw[kept].reshape(len(kept), *shape).astype(form.dtype))


def _type_of_numbers(raw: Array, kind: DatasetFormat, spec: ArrayInput) -> RawType:
    """Single columns of a table are floats, whatever they hold: each may have gaps in other rows."""
    if kind != "npz" and (raw.ndim == 1 or len(spec.columns or ()) > 1):
        return "float32" if raw.dtype == np.float32 else "float64"
    return _named(raw.dtype)


def _named(dtype: np.dtype[np.generic]) -> RawType:
    return next((each for each in _TYPES if each == dtype.name), "float64")


def categories_as_uploaded(
    columns: Sequence[Array], encoding: InputEncoding, shape: tuple[int, ...], kept: NDArray[np.int64]
) -> UploadedRows:
    """Of an input of categories: booleans or whole numbers where all columns [N] are such, else text. `shape`: of a row
    in the file.
    """
    dtype = _type_of_categories(columns, encoding)
    sample = np.stack([_as_type(column[kept], dtype) for column in columns], axis=1)
    form = RawInput(dtype=dtype, shape=shape, arranged=(len(columns),), rows="float32")
    return UploadedRows(form, sample.reshape(len(kept), *shape))


def _type_of_categories(columns: Sequence[Array], encoding: InputEncoding) -> RawType:
    if all(column.dtype.kind == "b" for column in columns):
        return "bool"
    named = all(whole_number_keys(names) for names in encoding.categories or ())
    return "int64" if named and all(map(_is_whole, columns)) else "string"


def _is_whole(column: Array) -> bool:
    if column.dtype.kind in "iu":
        return column.dtype != np.uint64
    if column.dtype.kind != "f" or not np.isfinite(column).all():
        return False
    return bool(((np.rint(column) == column) & (np.abs(column) < _LARGEST_WHOLE)).all())


def _as_type(values: Array, dtype: RawType) -> Array:
    """Values [m] in a type; text as a person writes it, the empty text where it is missing."""
    if dtype == "string":
        return np.array([label_text(value) for value in values.tolist()], dtype=object)
    return values.astype(dtype)


def joined_uploads(parts: Sequence[Uploaded], firsts: Sequence[int], inputs: Mapping[str, Tensor]) -> Uploaded:
    """Of joined datasets: the form of the first one, in a type that holds what all have, and the sample rows of those
    whose files have that form. `inputs`: the joined rows; `firsts`: the first row of each part.
    """
    forms = {name: _joined_form([_of_name(part, name).form for part in parts], inputs[name]) for name in inputs}
    fitting = [
        (part, first)
        for part, first in zip(parts, firsts, strict=True)
        if all(_fits(_of_name(part, name).form, form) for name, form in forms.items())
    ]
    rows = torch.cat([torch.empty(0, dtype=torch.int64), *(part.rows + first for part, first in fitting)])
    samples = {
        name: _joined_sample([_of_name(part, name) for part, _ in fitting], form) for name, form in forms.items()
    }
    return Uploaded(rows[:MOST_KEPT], {name: UploadedRows(forms[name], each) for name, each in samples.items()})


def _of_name(part: Uploaded, name: str) -> UploadedRows:
    """A single input has any name."""
    return part.inputs[name] if name in part.inputs else next(iter(part.inputs.values()))


def _joined_form(forms: Sequence[RawInput], rows: Tensor) -> RawInput:
    types = {form.dtype for form in forms}
    numbers = [np.dtype(form.dtype) for form in forms if form.dtype != "string"]
    dtype: RawType = "string" if "string" in types else _named(np.result_type(*numbers))
    wide = rows.dtype == torch.float64
    return forms[0].model_copy(update={"dtype": dtype, "rows": "float64" if wide else "float32"})


def _fits(form: RawInput, joined: RawInput) -> bool:
    """Whether rows of this form are rows of the joined one, and were rounded as they are, whatever their columns are
    called.
    """
    return form.model_copy(update={"dtype": joined.dtype, "columns": joined.columns}) == joined


def _joined_sample(parts: Sequence[UploadedRows], form: RawInput) -> Array:
    size = (-1, *form.shape)
    samples = [_as_type(part.sample.reshape(-1), form.dtype).reshape(size) for part in parts]
    empty = np.empty((0, *form.shape), object if form.dtype == "string" else form.dtype)
    return np.concatenate([empty, *samples])[:MOST_KEPT]
