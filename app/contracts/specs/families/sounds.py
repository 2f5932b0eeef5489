"""How networks of transformers read sounds."""

from typing import Final, Literal, assert_never

from pydantic import Field

from app.contracts.base import Contract
from app.contracts.specs.families.structure import Shape

SoundRows = Literal["samples", "bands"]
"""What rows of sounds are: [1, samples], or features [1, mels, frames]."""
MOST_SAMPLES: Final = 1 << 20
MOST_BANDS: Final = 256
MOST_FRAMES: Final = 6000


class SampleReading(Contract):
    """How a network of samples reads a sound, as `Wav2Vec2FeatureExtractor` of transformers prepares it.

    A sound goes up to the last sample that differs from the row's last one: what is behind it is padding.
    """

    normalize: bool = Field(
        default=True, description="Bring the samples of each sound to mean 0 and deviation 1; padding stays 0."
    )
    mask: bool = Field(
        default=False, description="Leave the padding out of attention and of the mean over time, by a mask."
    )


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
            if name == "whisper" and frames % 2:
                return f"`whisper` halves the number of frames, found {frames}: choose `seconds` for an even number"
            return None
        case _:
            assert_never(rows)
