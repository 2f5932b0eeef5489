"""How networks of transformers read sounds."""

from collections.abc import Mapping
from typing import Any, Final, Literal, assert_never

from pydantic import Field

from app.contracts.base import Contract
from app.contracts.specs.families.structure import Shape

SoundRows = Literal["samples", "bands"]
"""What rows of sounds are: [1, samples], or features [1, mels, frames]."""
MOST_SAMPLES: Final = 1 << 20
MOST_BANDS: Final = 256
MOST_FRAMES: Final = 6000
FRAMES_A_PLACE: Final = 2
"""Of Whisper, whose convolutions halve the number of frames."""
ADAPTERS: Final[Mapping[str, Any]] = {"add_adapter": False, "adapter_attn_dim": None}
"""Keys of layers that a classifier does not read, or that change each block: with other values a folder is refused."""
FIXED: Final[Mapping[str, Any]] = {
    **ADAPTERS,
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "layerdrop": 0.0,
    "encoder_layerdrop": 0.0,
}
"""Keys of a configuration that have one value here: what is masked in training is a view, and a layer that a term
compares is never left out. They change no answer.
"""


class SampleReading(Contract):
    """How a network of samples reads a sound, as `Wav2Vec2FeatureExtractor` of transformers prepares it.

    A sound goes up to the last sample that differs from the row's last one: what is behind it is padding. Rows of sound
    files mark the end of a sound that ends in digital silence, by 2^-24.
    """

    normalize: bool = Field(
        default=True, description="Bring the samples of each sound to mean 0 and deviation 1; padding stays 0."
    )
    mask: bool = Field(
        default=False, description="Leave the padding out of attention and of the mean over time, by a mask."
    )


def settings_of_rows(name: str, shape: Shape) -> dict[str, Any]:
    """What a configuration says of rows [1, samples] or [1, mels, frames], and the keys that have one value."""
    if len(shape) == 2:
        return dict(FIXED)
    _, bands, frames = shape
    if name == "whisper":
        return {**FIXED, "num_mel_bins": bands, "max_source_positions": frames // FRAMES_A_PLACE}
    return {"num_mel_bins": bands, "max_length": frames}


def misfit_of_sounds(name: str, rows: SoundRows, shape: Shape) -> str | None:
    """What is wrong with rows of this shape for a network of sounds; None where nothing is known to be."""
    if shape[0] != 1:
        return f"`{name}` reads sounds of one channel, found {shape[0]}: give the dataset an input of kind `audio`"
    match rows:
        case "samples":
            if shape[1] <= MOST_SAMPLES:
                return None
            return f"rows of {shape[1]} samples, {MOST_SAMPLES} at most: choose shorter `seconds` or a lower `rate`"
        case "bands":
            _, bands, frames = shape
            if bands > MOST_BANDS or frames > MOST_FRAMES:
                return (
                    f"rows of {bands} bands and {frames} frames, {MOST_BANDS} and {MOST_FRAMES} at most: choose fewer "
                    "`mels`, shorter `seconds` or a longer `hop`"
                )
            if name == "whisper" and frames % FRAMES_A_PLACE:
                return f"`whisper` halves the number of frames, found {frames}: choose `seconds` for an even number"
            return None
        case _:
            assert_never(rows)
