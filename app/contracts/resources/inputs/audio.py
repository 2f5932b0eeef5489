"""Inputs of sounds, and the features that they become."""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Final, Literal, Self, assert_never

from pydantic import Discriminator, Field, Tag, model_validator

from app.contracts.base import Column, Contract, Shape, left_out
from app.contracts.resources.inputs.bands import Bands

SOUND_SUFFIXES: Final = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3")
"""Of the files that are read as sounds, in lower case."""
MOST_FEATURES: Final = 1 << 20
"""Largest number of features of a row."""
Hertz = Annotated[float, Field(ge=0, le=24_000)]


class LogMel(Contract):
    """Logarithms of the power of a sound in bands of the mel scale, over time: those of Whisper.

    Slaney's mel scale and filters of equal area (librosa's defaults), a Hann window as long as the Fourier transform,
    sounds mirrored at both ends. x = log10(max(power, 1e-10)), at least the sound's largest x − 8; then (x + 4) / 4.
    Paper: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022, section 2.2.
    """

    mels: int = Field(default=64, ge=8, le=256, description="Number of bands, which is the height of a row.")
    window: float = Field(default=0.025, ge=0.005, le=0.256, description="Length of a window in seconds.")
    hop: float = Field(default=0.01, ge=0.002, le=0.256, description="From one window to the next, in seconds.")
    lowest: Hertz = Field(default=0.0, description="Lower end of the lowest band in Hz.")
    highest: Hertz | None = Field(
        default=None, description="Upper end of the highest band in Hz; half the sampling rate when left out."
    )


class Fbank(Contract):
    """Logarithms of the power of a sound in bands of the mel scale, over time: those of Kaldi, which the Audio
    Spectrogram Transformer reads.

    Windows that lie within the sound alone; of each its mean is subtracted, then 0.97 times the sample before each
    sample, then a Hann window, filled with zeros up to a power of 2. Bands are triangles on Kaldi's mel scale;
    x = ln(max(power, 2^-23)). Frames behind the end of a sound, or before its begin, are 0. Source: Kaldi,
    feature-fbank, as in transformers' `ASTFeatureExtractor`.
    """

    kind: Literal["fbank"]
    mels: int = Field(default=128, ge=8, le=256, description="Number of bands, which is the height of a row.")
    window: float = Field(default=0.025, ge=0.005, le=0.256, description="Length of a window in seconds.")
    hop: float = Field(default=0.01, ge=0.002, le=0.256, description="From one window to the next, in seconds.")
    lowest: Hertz = Field(default=20.0, description="Lower end of the lowest band in Hz.")
    highest: Hertz | None = Field(
        default=None, description="Upper end of the highest band in Hz; half the sampling rate when left out."
    )


def _features(value: Any) -> Literal["samples", "fbank", "log_mel"]:
    """Which features a document means: those of Whisper have no `kind`."""
    if isinstance(value, str):
        return "samples"
    kind = value.get("kind") if isinstance(value, Mapping) else None
    return "log_mel" if isinstance(value, LogMel) or (isinstance(value, Mapping) and kind is None) else "fbank"


SoundFeatures = Annotated[
    Annotated[LogMel, Tag("log_mel")] | Annotated[Fbank, Tag("fbank")] | Annotated[Literal["samples"], Tag("samples")],
    Discriminator(_features),
]


class AudioForm(Contract):
    """What sounds become: rows of one length, features of bands float32 [1, mels, frames] or samples float32 [1, n]."""

    seconds: float = Field(
        ge=0.01, le=120, description="Length that every sound is brought to: longer ones are cut, shorter ones padded."
    )
    keep: Literal["start", "centre"] = Field(
        default="start",
        description="What stays of a longer sound: `start` cuts off its end and pads shorter ones with silence behind; "
        "`centre` cuts and pads both ends alike.",
    )
    rate: int = Field(
        default=16_000, ge=4_000, le=48_000, description="Sampling rate in Hz to which every sound is resampled."
    )
    features: SoundFeatures = Field(
        default_factory=LogMel,
        description="The features of a sound: log-mels as Whisper has them by default, those of Kaldi with "
        '`"kind": "fbank"`, or `samples`: the samples as they are, a series of one channel, as wav2vec 2.0 and ONNX '
        "graphs for sounds take them.",
    )

    @property
    def samples(self) -> int:
        """Samples of each sound."""
        return round(self.seconds * self.rate)

    @property
    def bands(self) -> Bands | None:
        """The bands of features; None where rows are samples."""
        match self.features:
            case "samples":
                return None
            case LogMel() | Fbank() as features:
                return Bands(
                    scale="kaldi" if isinstance(features, Fbank) else "slaney",
                    rate=self.rate,
                    count=features.mels,
                    window=round(features.window * self.rate),
                    hop=round(features.hop * self.rate),
                    lowest=features.lowest,
                    highest=self.rate / 2 if features.highest is None else features.highest,
                )
            case _:
                assert_never(self.features)

    @property
    def row(self) -> Shape:
        """[1, mels, frames], low bands first; [1, samples] where rows are samples."""
        bands = self.bands
        return (1, self.samples) if bands is None else (1, bands.count, bands.frames(self.samples))

    @model_validator(mode="after")
    def _has_frames_and_bands(self) -> Self:
        bands = self.bands
        if bands is not None and (bands.window > self.samples or bands.hop > bands.window):
            raise ValueError(
                f"`seconds`, `window` and `hop` are {self.samples}, {bands.window} and {bands.hop} samples, expected "
                "each to be at least the next: make the first ones longer"
            )
        if prod(self.row) > MOST_FEATURES:
            raise ValueError(
                f"a row would have {' x '.join(map(str, self.row[1:]))} features, {MOST_FEATURES} at most: choose "
                "shorter `seconds`, a longer `hop`, fewer `mels` or a lower `rate`"
            )
        if bands is not None:
            bands.check()
        return self


class AudioInput(AudioForm):
    """Sounds of any lengths and sampling rates, brought to features or samples of one length at reading.

    Channels become their mean. Other sampling rates are resampled by a windowed sinc (six zero crossings of each side,
    Hann window, cut-off at 0.99 of half the lower rate: torchaudio's default). Students read the features as
    images of one channel, and samples as a series. Two inputs may read one column: a teacher takes the samples, its
    student the features.
    """

    kind: Literal["audio"]
    column: Column = Field(
        default="audio",
        description="Column of the sounds: `audio` in an archive of files; in parquet, one of encoded sounds.",
    )
    standardize: bool | None = Field(
        default=None,
        exclude_if=left_out,
        description="As for numbers: subtract the mean and divide by the standard deviation of the training split.",
    )

    @property
    def columns(self) -> tuple[str]:
        """The column, as other inputs list theirs."""
        return (self.column,)

    @property
    def form(self) -> AudioForm:
        """The form alone."""
        return AudioForm(**{name: getattr(self, name) for name in AudioForm.model_fields})
