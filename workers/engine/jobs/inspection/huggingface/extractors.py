"""What the feature extractor of a folder makes of a sound, as the form of an input."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.inputs.forms import row_of

_RATE: Final = 16_000
_WINDOW: Final = 0.025
_HOP: Final = 0.01
"""Of the Audio Spectrogram Transformer, whose extractor has no others, in seconds."""
_HIGHEST: Final = 8_000.0
"""Of the bands of Whisper in Hz."""


def form_of_sounds(name: str, row: tuple[Any, ...], processor: Mapping[str, Any]) -> AudioForm | None:
    """The form by which a network makes rows [1, samples] or [1, mels, frames] of sound files; None where no form makes
    rows of this shape, as for an unusual sampling rate.
    """
    rate = processor.get("sampling_rate", _RATE)
    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
        return None
    fields: Mapping[str, Any]
    if name == "whisper":
        fields = _of_whisper(row, rate, processor)
    elif name == "audio-spectrogram-transformer":
        window, hop = round(_WINDOW * rate), round(_HOP * rate)
        features = {"kind": "fbank", "mels": row[1], "window": _WINDOW, "hop": _HOP}
        fields = {"seconds": (window + (row[2] - 1) * hop) / rate, "features": features}
    else:
        fields = {"seconds": row[-1] / rate, "features": "samples"}
    try:
        form = AudioForm.model_validate({**fields, "rate": rate})
    except ValidationError:  # what no form can be: rows of datasets are read instead
        return None
    return form if row_of(form) == row else None


def _of_whisper(row: tuple[Any, ...], rate: int, processor: Mapping[str, Any]) -> Mapping[str, Any]:
    hop, window = processor.get("hop_length", rate // 100), processor.get("n_fft", rate // 40)
    if not all(isinstance(each, int) and each > 0 for each in (hop, window)):
        return {}
    features = {"mels": row[1], "window": window / rate, "hop": hop / rate}
    if rate > 2 * _HIGHEST:
        features["highest"] = _HIGHEST
    return {"seconds": row[2] * hop / rate, "features": features}
