"""Inputs of sounds, and the features that they become."""

from dataclasses import dataclass
from math import exp, log, prod
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from app.contracts.base import Column, Contract, Shape, left_out

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


class AudioForm(Contract):
    """What sounds become: rows of one length, log-mel features float32 [1, mels, frames] or samples float32 [1, n]."""

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
    features: LogMel | Literal["samples"] = Field(
        default_factory=LogMel,
        description="The features of a sound, log-mels by default, or `samples`: the samples as they are, a series of "
        "one channel, as ONNX graphs for sounds take them.",
    )

    @property
    def samples(self) -> int:
        """Samples of each sound."""
        return round(self.seconds * self.rate)

    @property
    def log_mel(self) -> LogMel | None:
        """The settings of log-mel features; None where rows are samples."""
        return None if self.features == "samples" else self.features

    @property
    def row(self) -> Shape:
        """[1, mels, frames], low bands first; [1, samples] where rows are samples."""
        bands = Bands.of(self)
        return (1, self.samples) if bands is None else (1, bands.count, self.samples // bands.hop)

    @model_validator(mode="after")
    def _has_frames_and_bands(self) -> Self:
        bands = Bands.of(self)
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


@dataclass(frozen=True)
class Bands:
    """Log-mel features of sounds of `rate` Hz: `count` bands from `lowest` to `highest` Hz; `window` and `hop` in
    samples. A window is also the length of the Fourier transform.
    """

    rate: int
    count: int
    window: int
    hop: int
    lowest: float
    highest: float

    @classmethod
    def of(cls, form: AudioForm) -> "Bands | None":
        """None where rows are samples."""
        mel, rate = form.log_mel, form.rate
        if mel is None:
            return None
        highest = rate / 2 if mel.highest is None else mel.highest
        return cls(rate, mel.mels, round(mel.window * rate), round(mel.hop * rate), mel.lowest, highest)

    @property
    def edges(self) -> tuple[float, ...]:
        """Ends and centres of the bands in Hz, `count` + 2: band i goes from i over its centre i + 1 to i + 2."""
        low, high = _mel(self.lowest), _mel(self.highest)
        return tuple(_hertz(low + (high - low) * i / (self.count + 1)) for i in range(self.count + 2))

    def check(self) -> None:
        """Raises ValueError for bands that do not rise, and for those between two frequencies of the Fourier transform,
        which would always be empty.
        """
        if not self.lowest < self.highest <= self.rate / 2:
            raise ValueError(
                f"the bands go from {self.lowest:g} to {self.highest:g} Hz, expected them to rise and to end "
                f"at {self.rate / 2:g} Hz, half of `rate`, at most: change `lowest` or `highest`"
            )
        step = self.rate / self.window
        for low, high in zip(self.edges, self.edges[2:], strict=False):
            if (int(low / step) + 1) * step >= high:
                raise ValueError(
                    f"with {self.count} `mels` the band from {low:.0f} to {high:.0f} Hz is narrower than the "
                    f"{step:.0f} Hz that a window of {self.window / self.rate:g} s tells apart: choose fewer `mels`, a "
                    "longer `window` or a higher `lowest`"
                )


_LINEAR, _LINEAR_MELS, _LOG_STEP = 1000.0, 15.0, log(6.4) / 27.0
"""Slaney's mel scale: 200/3 Hz a mel up to 1000 Hz, from there 27 mels for a factor of 6.4. Source: Slaney, Auditory
Toolbox, 1998, as in librosa's `hz_to_mel`.
"""


def _mel(hertz: float) -> float:
    if hertz < _LINEAR:
        return hertz * _LINEAR_MELS / _LINEAR
    return _LINEAR_MELS + log(hertz / _LINEAR) / _LOG_STEP


def _hertz(mel: float) -> float:
    if mel < _LINEAR_MELS:
        return mel * _LINEAR / _LINEAR_MELS
    return _LINEAR * exp((mel - _LINEAR_MELS) * _LOG_STEP)


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
