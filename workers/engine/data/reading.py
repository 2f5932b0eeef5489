"""Reads a file by its manifest into a dataset, and derives the facts about it."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.base import MIN_DEVIATION
from app.contracts.problems import UserError
from app.contracts.resolving.data.forms import Form
from app.contracts.resources.columns import columns_of
from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.inputs.audio import AudioInput
from app.contracts.resources.inputs.images import ImageInput
from app.contracts.resources.inputs.maps import MapTarget
from app.contracts.resources.inputs.tagging import TokenClassTarget
from app.contracts.resources.inputs.texts import TextInput, TokenEncoding, TokensInput
from app.contracts.resources.manifests import (
    ClassTarget,
    DatasetFormat,
    DatasetManifest,
    InputSpec,
    InputTransform,
    MultilabelTarget,
    TeacherTarget,
    ValueTarget,
    VectorTarget,
)
from app.contracts.resources.splits import ColumnSplits, FileSplits, FractionSplits, SplitName, columns_of_splits
from app.contracts.resources.tables import CategoryInput, InputEncoding
from workers.engine.common.row_storage import RowStorage
from workers.engine.common.row_store import as_tensor
from workers.engine.data.dataset import Dataset, InputRows, SplitRows, TargetColumn
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.files.encoded import RawRows, encoded_of, tensors_of
from workers.engine.data.formats.files.shards import rows_named
from workers.engine.data.formats.read import Files, read_columns
from workers.engine.data.formats.written import FileColumns
from workers.engine.data.labels.columns import class_column, number_column
from workers.engine.data.labels.maps import map_column
from workers.engine.data.labels.mask_targets import mask_columns, mask_targets, rows_columns
from workers.engine.data.rows.blocks import statistics
from workers.engine.data.rows.layout import arranged
from workers.engine.data.rows.precision import finite_in_float32, rounded
from workers.engine.data.rows.specs import pixels_of, spec_of_rows
from workers.engine.data.rows.standardization import Standardization, chosen
from workers.engine.data.rows.uploaded import Uploaded, kept_rows, preview_rows
from workers.engine.data.rows.weights import weight_column
from workers.engine.data.splits import split_by_column, split_by_file, split_by_fractions
from workers.engine.data.tables.category import read_categories
from workers.engine.data.tables.columns import columns_of_inputs, named_columns, text_columns
from workers.engine.data.tables.groups import groups_of
from workers.engine.data.tables.missing import (
    INFINITE_WAY_OUT,
    fill_missing,
    filled,
    missing_by_column,
    missing_way_out,
    place_name,
)
from workers.engine.data.tables.text import as_numbers, nulls_of
from workers.engine.data.tables.uploaded import as_uploaded
from workers.engine.data.texts.places import TokenPlaces
from workers.engine.data.texts.shown import texts_of
from workers.engine.data.texts.tagging import ids_of, label_lists, list_columns, token_targets, words_of

if TYPE_CHECKING:
    from workers.engine.data.texts.reading import TextReading

MAX_STATISTIC = 1e30
"""Largest mean or standard deviation that is accepted: that of a manifest."""


def read_dataset(
    files: Files,
    manifest: DatasetManifest,
    exact: bool = False,
    kept: int = 0,
    fills: Mapping[str, InputEncoding] | None = None,
    storage: RowStorage | None = None,
    reading: "TextReading | None" = None,
    forms: Mapping[str, tuple[str, Form]] = MappingProxyType({}),
    preview: int = 0,
) -> Dataset:
    """Read, validate and split the rows of one or several files. With `exact` inputs are float64 wherever float32 would
    round a number. `kept`: how many rows are kept as the file has them. `fills`: by input, what fills its missing
    numbers where that is not what the manifest says of the file's own training rows; as many as a row has places.
    `storage`: where decoded images are kept, and mapped from; in memory without one. `reading`: the tokenizers by which
    texts are read; without it each input of texts has one that is trained on the training split. `forms`: (input, form)
    of files that are read once more, for teachers, by the keys of `Dataset.formed`. `preview`: in place of `kept`, how
    many rows of the training split are kept to be shown, with their texts.

    Raises UserError with a stable code; the message names the column and row, and of several files the file.
    """
    texts, categories = text_columns(manifest), columns_of_inputs(manifest, CategoryInput)
    encoded = columns_of_inputs(manifest, ImageInput) | columns_of_inputs(manifest, AudioInput)
    lists, columns, masks = list_columns(manifest), named_columns(manifest), mask_columns(manifest)
    long = columns_of_inputs(manifest, TextInput) - lists
    file = read_columns(files, manifest.format, columns, texts, manifest.csv, categories, encoded, long, lists, masks)
    with rows_named(file.files):
        return _dataset(file, masks, manifest, exact, kept, fills, storage, reading, forms, preview)


def _dataset(
    file: FileColumns,
    masks: Set[str],
    manifest: DatasetManifest,
    exact: bool,
    kept: int,
    fills: Mapping[str, InputEncoding] | None,
    storage: RowStorage | None,
    reading: "TextReading | None",
    forms: Mapping[str, tuple[str, Form]],
    preview: int,
) -> Dataset:
    arrays = file.arrays
    _check_inputs_alone(manifest, file)
    targets = {
        name: _target(name, spec, arrays)
        for name, spec in manifest.targets.items()
        if not isinstance(spec, TokenClassTarget) and columns_of(name, spec)[0] not in masks
    }
    splits = _splits(manifest, file.rows, arrays, targets, file.files)
    train = splits["train"]
    places = {name: chosen.numpy() for name, chosen in splits.items()}
    inputs, transforms, uses, standardization, uploaded = {}, {}, {}, {}, {}
    mapped = {name for name, spec in manifest.inputs.items() if storage is not None and _is_stored(spec)}
    tokenizers: dict[str, bytes] = {}
    others: dict[str, InputRows] = {}
    labelled: dict[str, TokenPlaces] = {}
    sampled = preview_rows(splits, preview, file.row_bytes) if preview else kept_rows(splits, kept)
    for name, spec in manifest.inputs.items():
        if isinstance(spec, ImageInput | AudioInput):
            found = _of_files(name, spec, file, manifest.format, storage)
        elif isinstance(spec, TokensInput):
            found, labelled[name] = ids_of(name, spec, file, reading)
        elif isinstance(spec, TextInput) and set(spec.columns or (name,)) <= file.lists.keys():
            found, labelled[name] = words_of(name, spec, file, places["train"], reading)
        elif isinstance(spec, TextInput):
            found = _texts(name, spec, file, places["train"], storage, reading, manifest)
        else:
            found = _input(name, spec, file, places, nulls_of(manifest.format), exact, (fills or {}).get(name))
        others |= found.others
        tokenizers |= {name: found.trained} if found.trained is not None else {}
        uploaded[name] = as_uploaded(name, spec, found, arrays, manifest.format, sampled.numpy()).read_from(
            spec.columns or (name,)
        )
        if preview and isinstance(spec, TextInput):
            shown = texts_of(spec.columns or (name,), file, sampled.numpy())
            uploaded[name] = replace(uploaded[name], texts=shown)
        mapped |= {name} if found.is_of_map else set()
        found = replace(found, file=None)  # frees what the file had
        inputs[name], uses[name] = found.rows, found.uses
        read = spec_of_rows(spec)
        way = standardization[name] = standardization_of(read, found.rows, train, found.encoding)
        transforms[name] = transform_of(
            name, found.rows, read, train, found.encoding, found.columns, way[0], found.tokens
        )
    targets |= token_targets(manifest, file, labelled) | mask_targets(manifest, file, storage)
    for key, each in others.items():
        inputs[key], transforms[key] = each.rows, InputTransform(tokens=each.tokens)
        mapped |= {key} if storage is not None else set()
    formed = {key: (_formed(inputs[name], name, form, file, manifest, storage),) for key, (name, form) in forms.items()}
    weights = {name: _weights(name, spec.column or name, arrays) for name, spec in manifest.weights.items()}
    return Dataset(
        file.rows,
        tensors_of(inputs),
        targets,
        splits,
        transforms,
        uses=uses,
        weights=weights,
        standardization=standardization,
        uploaded=Uploaded(sampled, uploaded),
        encoded=encoded_of(inputs),
        tokenizers=tokenizers,
        mapped=frozenset(mapped),
        formed=formed,
        files=file.files,
    )


def _is_stored(spec: InputSpec) -> bool:
    """Whether rows of an input are kept in a file."""
    return isinstance(spec, ImageInput | AudioInput | TextInput)


def _check_inputs_alone(manifest: DatasetManifest, file: FileColumns) -> None:
    """Raises UserError `wrong_type` where a column of files or texts is named as anything but such an input."""
    kinds = {
        name: spec
        for name, spec in manifest.inputs.items()
        if not isinstance(spec, ImageInput | AudioInput | TextInput | TokensInput)
    }
    no_numbers = label_lists(manifest) | mask_columns(manifest)
    others = sorted(named_columns(manifest, kinds) - file.arrays.keys() - no_numbers)
    if others:
        kind = "text" if others[0] not in file.encoded else _kind_of_files(manifest, others[0])
        raise UserError(
            "wrong_type",
            f"`{others[0]}` has {kind}s, which are neither numbers nor labels: name another column, or make an input "
            f'of `"kind": "{kind}"` of it alone',
        )


def _kind_of_files(manifest: DatasetManifest, column: str) -> str:
    """`audio` or `image`."""
    is_sound = manifest.format == "sounds" or column in columns_of_inputs(manifest, AudioInput)
    return "audio" if is_sound else "image"


def _input(
    name: str,
    spec: ArrayInput | CategoryInput,
    file: FileColumns,
    splits: SplitRows,
    nulls: Set[str],
    exact: bool,
    given: InputEncoding | None,
) -> InputRows:
    """The raw rows of an input. `nulls`: texts that mean a missing value in this file."""
    match spec:
        case ArrayInput():
            return _numbers(name, spec, file.arrays, splits, exact, given)
        case CategoryInput():
            return read_categories(name, spec, file, splits, nulls)
        case _:
            assert_never(spec)


def _of_files(
    name: str, spec: ImageInput | AudioInput, file: FileColumns, kind: DatasetFormat, storage: RowStorage | None
) -> InputRows:
    match spec:
        case ImageInput():
            return _images(name, spec, file, kind, storage)
        case AudioInput():
            return _sounds(name, spec, file, kind, storage)
        case _:
            assert_never(spec)


def _formed(
    own: RawRows, name: str, form: Form, file: FileColumns, manifest: DatasetManifest, storage: RowStorage | None
) -> RawRows:
    """The rows of the files of an input by another form; `own`: those of the dataset, which are kept where it is the
    same.
    """
    spec = manifest.inputs[name]
    assert isinstance(spec, ImageInput | AudioInput), "the form is of files"
    if spec.form == form:
        return own
    other = spec.model_copy(update={field: getattr(form, field) for field in type(form).model_fields})
    return _of_files(name, other, file, manifest.format, storage).rows


def _images(
    name: str, spec: ImageInput, file: FileColumns, kind: DatasetFormat, storage: RowStorage | None
) -> InputRows:
    if spec.column not in file.encoded:
        raise UserError(
            "wrong_type",
            f"input `{name}` reads images, but `{spec.column}` has none: upload a zip of image files with "
            '`"format": "images"`, whose column is `image`, or a parquet file with a column of encoded images. Arrays '
            'of pixels are of `"kind": "array"`',
        )
    from workers.engine.data.formats.images.pixels import image_rows  # Pillow is imported where there are images

    rows = image_rows(name, file.encoded[spec.column], spec, storage, kind)
    return InputRows(rows, columns=_in_order_of_numbers(name, pixels_of(spec), tuple(rows.shape[1:])))


def _sounds(
    name: str, spec: AudioInput, file: FileColumns, kind: DatasetFormat, storage: RowStorage | None
) -> InputRows:
    if spec.column not in file.encoded:
        raise UserError(
            "wrong_type",
            f"input `{name}` reads sounds, but `{spec.column}` has none: upload a zip of sound files with "
            '`"format": "sounds"`, whose column is `audio`, or a parquet file with a column of encoded sounds. Arrays '
            'of features are of `"kind": "array"`',
        )
    from workers.engine.data.formats.sounds.rows import sound_rows  # soundfile is imported where there are sounds

    return InputRows(sound_rows(name, file.encoded[spec.column], spec, storage, kind))


def _texts(
    name: str,
    spec: TextInput,
    file: FileColumns,
    train: NDArray[np.int64],
    storage: RowStorage | None,
    reading: "TextReading | None",
    manifest: DatasetManifest,
) -> InputRows:
    from workers.engine.data.texts.reading import read_texts  # tokenizers is imported where there are texts

    csv = manifest.csv.model_dump(mode="json") if manifest.csv is not None else None
    return read_texts(name, spec, file.texts, train, storage, reading, {"format": manifest.format, "csv": csv})


def _numbers(
    name: str,
    spec: ArrayInput,
    arrays: Mapping[str, Array],
    splits: SplitRows,
    exact: bool,
    given: InputEncoding | None,
) -> InputRows:
    names = spec.columns or (name,)
    columns = as_numbers(name, names, [arrays[column] for column in names], "category")
    if len(columns) > 1 and any(column.size != len(column) for column in columns):
        raise UserError(
            "shape_mismatch",
            f"input `{name}` lists a column with several numbers a row: list only that one",
        )
    raw = columns[0] if len(columns) == 1 else np.stack([column.reshape(len(column)) for column in columns], axis=1)
    file = raw
    raw = raw.reshape(len(raw), *(raw.shape[1:] or (1,)))
    raw = arranged(name, spec, raw)
    ordered = _in_order_of_numbers(name, spec, raw.shape[1:])
    if spec.missing is None:
        return InputRows(_tensor(name, names, raw, exact), columns=ordered, file=file)
    uses = missing_by_column(ordered or names, raw, splits)
    if given is not None and given.missing is not None and given.fill is not None:
        raw, encoding = filled(raw, np.array(given.fill), given.missing), given
    else:
        raw, encoding = fill_missing(name, names, raw, spec.missing, splits["train"])
    return InputRows(_tensor(name, names, raw, exact), encoding, ordered, uses, file)


def _in_order_of_numbers(name: str, spec: ArrayInput, row: tuple[int, ...]) -> tuple[str, ...] | None:
    """The columns that the manifest lists, moved as the numbers of a row were; None where one has several numbers."""
    if spec.columns is None or len(spec.columns) != prod(row):
        return None
    return tuple(arranged(name, spec, np.array([spec.columns])).ravel().tolist())


def _tensor(name: str, columns: tuple[str, ...], raw: Array, exact: bool) -> Tensor:
    if raw.dtype == np.uint8:
        # Arrow's memory is read-only, as that of a map, which is left where it is.
        return as_tensor(np.require(raw, requirements=["C"] if isinstance(raw, np.memmap) else ["C", "W"]))
    numbers = rounded(raw, exact)
    finite = finite_in_float32(numbers)
    if not finite.all():
        way_out = missing_way_out() if np.isnan(numbers).any() else INFINITE_WAY_OUT
        row = int(np.argmin(finite))
        place = int(np.argmin(finite_in_float32(numbers[row].reshape(-1, 1))))
        raise UserError(
            "not_finite",
            f"input `{name}`: {place_name(columns, place)} is missing, NaN or infinite (as float32) at row {row} "
            f"({int((~finite).sum())} such rows in all): {way_out}",
            row,
        )
    return torch.from_numpy(numbers)


def _target(
    name: str,
    spec: ClassTarget | MapTarget | MultilabelTarget | ValueTarget | VectorTarget | TeacherTarget,
    arrays: Mapping[str, Array],
) -> TargetColumn:
    columns = [arrays[column] for column in columns_of(name, spec)]
    match spec:
        case ClassTarget():
            return class_column(name, spec, columns[0])
        case MapTarget():
            return map_column(name, spec, columns[0])
        case MultilabelTarget() | ValueTarget() | VectorTarget() | TeacherTarget():
            return number_column(name, spec, columns)
        case _:
            assert_never(spec)


def splits_of(files: Files, manifest: DatasetManifest, rows: int, counts: Mapping[str, int]) -> dict[SplitName, Tensor]:
    """The splits of `rows` rows, as `read_dataset` makes them, without reading the inputs. `counts`: of several files,
    their rows by name.
    """
    named = manifest.splits.stratify if isinstance(manifest.splits, FractionSplits) else None
    strata = {name: spec for name, spec in manifest.targets.items() if name == named and isinstance(spec, ClassTarget)}
    columns = columns_of_splits(manifest.splits).union(*(columns_of(name, spec) for name, spec in strata.items()))
    texts = text_columns(manifest) & columns
    arrays = rows_columns(files, manifest, columns, texts).arrays if columns else {}
    return _splits(manifest, rows, arrays, {name: _target(name, spec, arrays) for name, spec in strata.items()}, counts)


def _splits(
    manifest: DatasetManifest,
    rows: int,
    arrays: Mapping[str, Array],
    targets: Mapping[str, TargetColumn],
    files: Mapping[str, int],
) -> dict[SplitName, Tensor]:
    match manifest.splits:
        case ColumnSplits():
            return split_by_column(manifest.splits, arrays[manifest.splits.column])
        case FractionSplits():
            stratify = manifest.splits.stratify
            strata = targets[stratify].values.numpy() if stratify is not None else None
            group = manifest.splits.group
            groups = groups_of(group, arrays[group]) if group is not None else None
            return split_by_fractions(manifest.splits, rows, strata, groups)
        case FileSplits():
            return split_by_file(manifest.splits, files)
        case _:
            assert_never(manifest.splits)


def check_scale(name: str, mean: Sequence[float], deviation: Sequence[float]) -> None:
    """Raises UserError `wrong_scale` for statistics that a manifest cannot have."""
    largest, smallest = max(abs(number) for number in (*mean, *deviation)), min(deviation)
    if largest > MAX_STATISTIC:
        raise UserError(
            "wrong_scale",
            f"{name} has a mean or standard deviation of {largest:.3g} on the training split, {MAX_STATISTIC:.0e} at "
            "most: use larger units",
        )
    if smallest < MIN_DEVIATION:
        raise UserError(
            "wrong_scale",
            f"{name} has a standard deviation of {smallest:.3g} on the training split, {MIN_DEVIATION:.0e} at least: "
            "use smaller units",
        )


def transform_of(
    name: str,
    raw: RawRows,
    spec: ArrayInput | CategoryInput | TextInput | TokensInput,
    train: Tensor,
    encoding: InputEncoding | None = None,
    columns: tuple[str, ...] | None = None,
    way: Standardization | None = None,
    tokens: TokenEncoding | None = None,
) -> InputTransform:
    """The columns, the dataset's scale and, with `standardize`, the training split's statistics for each element of a
    row's first dimension. Indicators of missing numbers stay 0 or 1. Raises UserError `wrong_scale`.
    """
    if isinstance(spec, TextInput | TokensInput):
        return InputTransform(tokens=tokens)
    if isinstance(spec, CategoryInput):
        return InputTransform(encoding=encoding, columns=columns)
    indicators = _indicators(raw, encoding)
    way = way or standardization_of(spec, raw, train, encoding)[0]
    if way == "none" and (not indicators or spec.scale == 1.0):
        return InputTransform(scale=spec.scale, encoding=encoding, columns=columns)
    if way == "all":
        mean, deviation = statistics(raw, train, spec.scale, each=False)
        check_scale(f"input `{name}`", mean.tolist(), deviation.tolist())
        return InputTransform(
            scale=spec.scale, mean=float(mean), std=float(deviation), encoding=encoding, columns=columns
        )
    if way == "elements":
        mean, deviation = statistics(raw, train, spec.scale, each=True)
    else:
        mean, deviation = torch.zeros(raw.shape[1]), torch.ones(raw.shape[1])
    means, deviations = mean.tolist(), deviation.tolist()
    if indicators:
        means[-indicators:], deviations[-indicators:] = [0.0] * indicators, [spec.scale] * indicators
    check_scale(f"input `{name}`", means, deviations)
    return InputTransform(
        scale=spec.scale, mean=tuple(means), std=tuple(deviations), encoding=encoding, columns=columns
    )


def standardization_of(
    spec: ArrayInput | CategoryInput | TextInput | TokensInput,
    raw: RawRows,
    train: Tensor,
    encoding: InputEncoding | None,
) -> tuple[Standardization, str | None]:
    """(how an input is standardised, why where the manifest does not say it)."""
    if isinstance(spec, CategoryInput | TextInput | TokensInput):
        return "none", None
    if spec.standardize is not None:
        return ("elements" if spec.standardize else "none"), None
    if _indicators(raw, encoding):
        return "elements", "indicators of missing numbers stay as they are"
    return chosen(raw, train)


def _indicators(raw: RawRows, encoding: InputEncoding | None) -> int:
    """Number of indicators of missing numbers at the end of a row."""
    return raw.shape[1] // 2 if encoding is not None and encoding.missing == "indicator" else 0


def _weights(name: str, column: str, arrays: Mapping[str, Array]) -> Tensor:
    return weight_column(name, as_numbers(name, [column], [arrays[column]], "category")[0])
