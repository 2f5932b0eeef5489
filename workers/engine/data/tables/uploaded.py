"""What a person sends to an exported student: form and sample rows of inputs of numbers and of categories."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.inputs.audio import AudioInput
from app.contracts.resources.inputs.images import ImageInput
from app.contracts.resources.inputs.texts import TextInput, TokenEncoding, TokensInput
from app.contracts.resources.joined_rows import InputPart, fits, joined_form
from app.contracts.resources.manifests import DatasetFormat, InputSpec
from app.contracts.resources.raw_rows import RawInput, RawType, Spellings
from app.contracts.resources.tables import CategoryInput, InputEncoding
from workers.engine.data.dataset import InputRows
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.written import Written
from workers.engine.data.rows.specs import features_of, pixels_of
from workers.engine.data.rows.uploaded import MOST_KEPT, CategoriesOfFile, Uploaded, UploadedRows
from workers.engine.data.tables.keys import too_many, whole_number_keys

_LARGEST_WHOLE = 2.0**53
_TYPES: tuple[RawType, ...] = get_args(RawType)


def as_uploaded(
    name: str,
    spec: InputSpec,
    found: InputRows,
    arrays: Mapping[str, Array],
    kind: DatasetFormat,
    kept: NDArray[np.int64],
) -> UploadedRows:
    """An input as a person sends it. `kept`: the rows that are its sample."""
    match spec:
        case ArrayInput():
            assert isinstance(found.file, np.ndarray)
            return numbers_as_uploaded(found.file, spec, kind, found.rows.dtype, kept)
        case ImageInput():
            sample = found.rows[torch.from_numpy(kept)].movedim(1, -1).numpy()
            return images_as_uploaded(sample, spec)
        case AudioInput():
            return sounds_as_uploaded(found.rows[torch.from_numpy(kept)].numpy(), spec)
        case TextInput() | TokensInput():
            assert found.tokens is not None
            return tokens_as_uploaded(found.rows[torch.from_numpy(kept)].numpy(), found.tokens)
        case CategoryInput():
            assert found.encoding is not None
            assert isinstance(found.file, CategoriesOfFile)
            keys = spec.columns or (name,)
            is_flat = kind == "npz" and len(keys) == 1 and arrays[keys[0]].ndim == 1
            shape = () if is_flat else (len(found.file.columns),)
            return categories_as_uploaded(found.file, found.encoding, shape, kept)
        case _:
            assert_never(spec)


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


def images_as_uploaded(pixels: Array, spec: ImageInput) -> UploadedRows:
    """Of an input of images. `pixels`: of the rows that are kept, [m, height, width, channels]."""
    found = numbers_as_uploaded(pixels, pixels_of(spec), "images", torch.uint8, np.arange(len(pixels)))
    return replace(found, form=found.form.model_copy(update={"image": spec.form}))


def sounds_as_uploaded(features: Array, spec: AudioInput) -> UploadedRows:
    """Of an input of sounds. `features`: of the rows that are kept, [m, *spec.row]."""
    found = numbers_as_uploaded(features, features_of(spec), "sounds", torch.float32, np.arange(len(features)))
    return replace(found, form=found.form.model_copy(update={"audio": spec.form}))


def tokens_as_uploaded(ids: Array, tokens: TokenEncoding) -> UploadedRows:
    """Of an input of texts. `ids`: of the rows that are kept, [m, width]."""
    shape = ids.shape[1:]
    form = RawInput(dtype="int64", shape=shape, arranged=shape, rows="float32", tokens=tokens)
    return UploadedRows(form, ids.astype(np.int64))


def _type_of_numbers(raw: Array, kind: DatasetFormat, spec: ArrayInput) -> RawType:
    """Single columns of a table are floats, whatever they hold: each may have gaps in other rows."""
    if kind != "npz" and (raw.ndim == 1 or len(spec.columns or ()) > 1):
        return "float32" if raw.dtype == np.float32 else "float64"
    return _named(raw.dtype)


def _named(dtype: np.dtype[np.generic]) -> RawType:
    return next((each for each in _TYPES if each == dtype.name), "float64")


def categories_as_uploaded(
    file: CategoriesOfFile, encoding: InputEncoding, shape: tuple[int, ...], kept: NDArray[np.int64]
) -> UploadedRows:
    """Of an input of categories: booleans or whole numbers where all columns are such in a file with types, else text.
    `shape`: of a row in the file.
    """
    texts = np.stack([_texts(written, kept) for _, written in file.columns], axis=1)
    excess = too_many(file.meanings)
    form = RawInput(
        dtype=_type_of_categories(file.columns, encoding),
        shape=shape,
        arranged=(len(file.columns),),
        rows="float32",
        spellings=_told(each.spelled for each in file.meanings) if excess is None else (),
        refused=next((each.unclear for each in file.meanings if each.unclear is not None), excess),
    )
    sample = texts
    if form.dtype != "string":
        sample = np.stack([_typed(values[kept], form.dtype) for values, _ in file.columns], axis=1)
    return UploadedRows(form, sample.reshape(len(kept), *shape), texts.reshape(len(kept), *shape))


def _told(spellings: Iterable[Spellings]) -> tuple[dict[str, str | None], ...]:
    """Those of each column; none at all where no column has any."""
    found = tuple(dict(each) for each in spellings)
    return found if any(found) else ()


def _type_of_categories(columns: Sequence[tuple[Array, Written]], encoding: InputEncoding) -> RawType:
    if all(written.kind == "bool" for _, written in columns):
        return "bool"
    named = all(whole_number_keys(names) for names in encoding.categories or ())
    numbers = all(written.kind == "number" and _is_whole(values) for values, written in columns)
    return "int64" if named and numbers else "string"


def _is_whole(column: Array) -> bool:
    if column.dtype.kind in "iu":
        return column.dtype != np.uint64
    if column.dtype.kind != "f" or not np.isfinite(column).all():
        return False
    return bool(((np.rint(column) == column) & (np.abs(column) < _LARGEST_WHOLE)).all())


def _typed(values: Array, dtype: RawType) -> Array:
    """Values [m] as numbers or booleans, which readers may have made text."""
    return values == "true" if dtype == "bool" and values.dtype.kind == "U" else values.astype(dtype)


@dataclass(frozen=True, eq=False)
class UploadedPart:
    """One of several datasets: its id, its first row among the joined ones, and of its inputs what stands in the file,
    the encodings and whether numbers were missing.
    """

    dataset: str
    first: int
    uploaded: Uploaded
    encodings: Mapping[str, InputEncoding | None]
    gaps: Mapping[str, bool]

    def rows_of(self, name: str) -> UploadedRows:
        """A single input has any name."""
        return self.uploaded.inputs[self._own(name)]

    def of_input(self, name: str) -> InputPart:
        """An input as it is joined with that of other datasets."""
        own = self._own(name)
        return InputPart(self.dataset, self.uploaded.inputs[own].form, self.encodings[own], self.gaps[own])

    def _own(self, name: str) -> str:
        return name if name in self.uploaded.inputs else next(iter(self.uploaded.inputs))


def _texts(written: Written, kept: NDArray[np.int64]) -> Array:
    """The values of rows as a person reads them in the file, object [m]."""
    texts = written.texts()
    return np.array([texts[code][0] for code in written.codes[kept].tolist()], dtype=object)


def joined_uploads(parts: Sequence[UploadedPart], names: Iterable[str]) -> Uploaded:
    """Of joined datasets: the form of the first one, in a type that holds what all have, and sample rows of those whose
    files have that form, equally many of each as far as there are. `names`: the inputs of the joined dataset.
    """
    forms = {name: joined_form([part.of_input(name) for part in parts]) for name in names}
    fitting = [part for part in parts if all(fits(part.rows_of(name).form, form) for name, form in forms.items())]
    counts = _shares([len(part.uploaded.rows) for part in fitting])
    rows = [part.uploaded.rows[:count] + part.first for part, count in zip(fitting, counts, strict=True)]
    samples = {
        name: _joined_sample([part.rows_of(name) for part in fitting], counts, form) for name, form in forms.items()
    }
    return Uploaded(
        torch.cat([torch.empty(0, dtype=torch.int64), *rows]),
        {name: UploadedRows(forms[name], each) for name, each in samples.items()},
        tuple(part.dataset for part in parts if part not in fitting),
    )


def _shares(counts: Sequence[int]) -> list[int]:
    """How many rows are taken of so many, at most MOST_KEPT together: what one lacks goes to the others."""
    shares, left = [0] * len(counts), MOST_KEPT
    for taken, i in enumerate(sorted(range(len(counts)), key=counts.__getitem__)):
        shares[i] = min(counts[i], left // (len(counts) - taken))
        left -= shares[i]
    return shares


def _joined_sample(parts: Sequence[UploadedRows], counts: Sequence[int], form: RawInput) -> Array:
    samples = [_in_form(part, form)[:count] for part, count in zip(parts, counts, strict=True)]
    return np.concatenate([np.empty((0, *form.shape), object if form.dtype == "string" else form.dtype), *samples])


def _in_form(part: UploadedRows, form: RawInput) -> Array:
    if form.dtype != "string":
        return part.sample.astype(form.dtype)
    assert part.texts is not None
    return part.texts
