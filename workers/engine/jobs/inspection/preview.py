"""Rows of a dataset as people look at them: images drawn, texts and numbers as they stand in the file."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any, Final, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app.contracts.resources.inputs.audio import AudioInput
from app.contracts.resources.inputs.images import ImageInput
from app.contracts.resources.manifests import DatasetManifest, InputSpec
from app.contracts.resources.preview import Preview, PreviewRow, Shown, ShownInput, ShownSound, ShownTarget
from workers.engine.data.dataset import PADDING, Dataset, TargetColumn
from workers.engine.data.rows.uploaded import UploadedRows

_SIDE: Final = 96
"""Pixels of the longest side of an image."""
_SMALLEST_IMAGE: Final = 5
"""An array whose sides are shorter is shown as numbers."""
_CHARACTERS: Final = 500
_NUMBERS: Final = 64
_CHANNELS: Final = (1, 3)


def preview_of(dataset: Dataset, manifest: DatasetManifest) -> Preview:
    """The rows that were kept to be shown (`read_dataset(preview=…)`)."""
    uploaded = dataset.uploaded
    assert uploaded is not None, "rows are read from a file"
    rows = uploaded.rows
    inputs = {
        name: _shown_inputs(spec, dataset.rows_of[name][rows], uploaded.inputs[name], dataset.transforms[name].columns)
        for name, spec in manifest.inputs.items()
    }
    targets = {name: _shown_targets(column, rows) for name, column in dataset.targets.items()}
    return Preview(
        rows=tuple(
            PreviewRow(
                row=row,
                split="train",
                inputs={name: each[place] for name, each in inputs.items()},
                targets={name: each[place] for name, each in targets.items()},
            )
            for place, row in enumerate(rows.tolist())
        )
    )


def _shown_inputs(
    spec: InputSpec, rows: Tensor, uploaded: UploadedRows, columns: Sequence[str] | None
) -> list[ShownInput]:
    """`rows`: those that are shown [m, …], as the engine reads them."""
    if uploaded.form.tokens is not None:
        return _texts(uploaded) if uploaded.texts is not None else _tokens(uploaded)
    if isinstance(spec, AudioInput):
        return _sounds(spec, rows)
    if isinstance(spec, ImageInput) or _looks_like_images(rows):
        return _images(rows, uploaded.form.shape)
    shown = uploaded.texts if uploaded.texts is not None else uploaded.sample
    flat = shown.reshape(len(shown), -1)
    named = tuple(columns)[:_NUMBERS] if columns is not None and len(columns) == flat.shape[1] else None
    return [_values(each, uploaded.form.shape, named) for each in flat.tolist()]


def _values(row: Sequence[Any], shape: tuple[int, ...], columns: tuple[str, ...] | None = None) -> ShownInput:
    values = tuple(map(_value, row[:_NUMBERS]))
    same = (shown == each or shown is None for shown, each in zip(values, row, strict=False))
    return ShownInput(values=values, columns=columns, shape=shape, whole=len(row) <= _NUMBERS and all(same))


def _texts(uploaded: UploadedRows) -> list[ShownInput]:
    """One text a row, or a pair with a line between."""
    assert uploaded.texts is not None
    joined = ["\n".join(each) for each in uploaded.texts]
    single = uploaded.texts.shape[1] == 1
    return [ShownInput(text=_cut(each), whole=single and len(each) <= _CHARACTERS) for each in joined]


def _tokens(uploaded: UploadedRows) -> list[ShownInput]:
    """Ids without what fills rows up."""
    assert uploaded.form.tokens is not None
    padding = uploaded.form.tokens.padding
    ends = [int(np.flatnonzero(np.append(True, each != padding))[-1]) for each in uploaded.sample]
    return [_values(each[:end].tolist(), (end,)) for each, end in zip(uploaded.sample, ends, strict=True)]


def _looks_like_images(rows: Tensor) -> bool:
    """Whether rows are arrays [channels, height, width] that are large enough to be looked at."""
    return rows.dim() == 4 and rows.shape[1] in _CHANNELS and min(rows.shape[2:]) >= _SMALLEST_IMAGE


def _sounds(spec: AudioInput, rows: Tensor) -> list[ShownInput]:
    """Features as images with low frequencies at the bottom, samples as a line."""
    if spec.bands is not None:
        return _images(rows.reshape(len(rows), 1, *rows.shape[-2:]).flip(2), ())
    samples = rows.reshape(len(rows), -1).abs()
    stretches = samples[:, : samples.shape[1] // _SIDE * _SIDE].reshape(len(rows), _SIDE, -1).amax(2).clamp(max=1.0)
    lines = stretches.double().round(decimals=4).tolist()
    return [ShownInput(sound=ShownSound(seconds=spec.seconds, envelope=tuple(each)), whole=False) for each in lines]


def _images(rows: Tensor, shape: tuple[int, ...]) -> list[ShownInput]:
    """Rows [m, channels, height, width] as images; other than bytes are scaled to the range of these rows."""
    step = max(1, max(rows.shape[2:]) // _SIDE)
    reduced = rows[:, :, ::step, ::step]
    pixels = reduced if rows.dtype == torch.uint8 else _as_bytes(reduced)
    if pixels.shape[1] not in _CHANNELS:
        pixels = pixels[:, :1]
    whole = rows.dtype == torch.uint8 and max(rows.shape[2:]) <= _SIDE and rows.shape[1] in _CHANNELS
    arrays = pixels.movedim(1, -1).numpy()
    return [ShownInput(image=_png(each), shape=shape or None, whole=whole) for each in arrays]


def _as_bytes(rows: Tensor) -> Tensor:
    values = rows.float().nan_to_num()
    low, high = values.amin(), values.amax()
    return ((values - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny) * 255.0).round().byte()


def _png(pixels: NDArray[np.uint8]) -> str:
    """An image [height, width, channels] as a data URL."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((_SIDE, _SIDE))
    content = io.BytesIO()
    image.save(content, "png")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _shown_targets(column: TargetColumn, rows: Tensor) -> list[ShownTarget]:
    if column.kind == "map":  # of thousands of pixels each
        return [None] * len(rows)
    return [_shown_target(column, each) for each in column.values[rows].tolist()]


def _shown_target(column: TargetColumn, value: Any) -> ShownTarget:
    match column.kind:
        case "class":
            return _class(column, value)
        case "token_class":
            return tuple(_class(column, each) for each in value if each != PADDING)[:_NUMBERS]
        case "multilabel":
            missing = any(math.isnan(each) for each in value)
            return None if missing else tuple(_name(column, place) for place, each in enumerate(value) if each > 0.5)
        case "value":
            return _number(value)
        case "vector" | "teacher":
            numbers = tuple(map(_number, value[:_NUMBERS]))
            return None if all(each is None for each in numbers) else numbers
        case "map":
            return None
        case _:
            assert_never(column.kind)


def _class(column: TargetColumn, value: int) -> int | str | None:
    return None if value < 0 else _name(column, value)


def _name(column: TargetColumn, place: int) -> int | str:
    return column.classes[place] if column.classes is not None else place


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _value(value: Any) -> Shown:
    return _number(value) if isinstance(value, float) else _cut(value) if isinstance(value, str) else value


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1]}…"
