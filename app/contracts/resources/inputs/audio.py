"""Inputs of sounds, and the features that they become."""

from math import exp, log
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
    """What sounds become: log-mel features of one length, float32 [1, mels, frames]."""

    seconds: float = Field(
        ge=0.05, le=120, description="Length that every sound is brought to: longer ones are cut, shorter ones padded."
    )
    keep: Literal["start", "centre"] = Field(
        default="start",
        description="What stays of a longer sound: `start` cuts off its end and pads shorter ones with silence behind; "
        "`centre` cuts and pads both ends alike.",
    )
    rate: int = Field(
        default=16_000, ge=4_000, le=48_000, description="Sampling rate in Hz to which every sound is resampled."
    )
    features: LogMel = Field(default=LogMel(), description="The features of a sound.")

    @property
    def samples(self) -> int:
        """Samples of each sound."""
        return round(self.seconds * self.rate)

    @property
    def window(self) -> int:
        """Samples of a window, which is also the length of the Fourier transform."""
        return round(self.features.window * self.rate)

    @property
    def hop(self) -> int:
        """Samples from one window to the next."""
        return round(self.features.hop * self.rate)

    @property
    def highest(self) -> float:
        """Upper end of the highest band in Hz."""
        return self.rate / 2 if self.features.highest is None else self.features.highest

    @property
    def row(self) -> Shape:
        """[1, mels, frames]; low bands first."""
        return 1, self.features.mels, self.samples // self.hop

    @model_validator(mode="after")
    def _has_frames_and_bands(self) -> Self:
        if self.window > self.samples or self.hop > self.window:
            raise ValueError(
                f"`seconds`, `window` and `hop` are {self.samples}, {self.window} and {self.hop} samples, expected "
                "each to be at least the next: make the first ones longer"
            )
        if self.row[1] * self.row[2] > MOST_FEATURES:
            raise ValueError(
                f"a row would have {self.row[1]} x {self.row[2]} features, {MOST_FEATURES} at most: choose shorter "
                "`seconds`, a longer `hop` or fewer `mels`"
            )
        if not self.features.lowest < self.highest <= self.rate / 2:
            raise ValueError(
                f"the bands go from {self.features.lowest:g} to {self.highest:g} Hz, expected them to rise and to end "
                f"at {self.rate / 2:g} Hz, half of `rate`, at most: change `lowest` or `highest`"
            )
        self._check_bands()
        return self

    def _check_bands(self) -> None:
        """Raises ValueError for bands between two frequencies of the Fourier transform, which would always be empty."""
        edges = mel_edges(self)
        step = self.rate / self.window
        for low, high in zip(edges, edges[2:], strict=False):
            if (int(low / step) + 1) * step >= high:
                raise ValueError(
                    f"with {self.features.mels} `mels` the band from {low:.0f} to {high:.0f} Hz is narrower than the "
                    f"{step:.0f} Hz that a window of {self.features.window:g} s tells apart: choose fewer `mels`, a "
                    "longer `window` or a higher `lowest`"
                )


_LINEAR, _LINEAR_MELS, _LOG_STEP = 1000.0, 15.0, log(6.4) / 27.0
"""Slaney's mel scale: 200/3 Hz a mel up to 1000 Hz, from there 27 mels for a factor of 6.4. Source: Slaney, Auditory
Toolbox, 1998, as in librosa's `hz_to_mel`.
"""


def mel_edges(form: AudioForm) -> tuple[float, ...]:
    """Ends and centres of the bands in Hz, `mels` + 2: band i goes from i over its centre i + 1 to i + 2."""
    low, high = _mel(form.features.lowest), _mel(form.highest)
    count = form.features.mels + 1
    return tuple(_hertz(low + (high - low) * i / count) for i in range(count + 1))


def _mel(hertz: float) -> float:
    if hertz < _LINEAR:
        return hertz * _LINEAR_MELS / _LINEAR
    return _LINEAR_MELS + log(hertz / _LINEAR) / _LOG_STEP


def _hertz(mel: float) -> float:
    if mel < _LINEAR_MELS:
        return mel * _LINEAR / _LINEAR_MELS
    return _LINEAR * exp((mel - _LINEAR_MELS) * _LOG_STEP)


class AudioInput(AudioForm):
    """Sounds of any lengths and sampling rates, brought to features of one length at reading.

    Channels become their mean. Other sampling rates are resampled by a windowed sinc (six zero crossings of each side,
    Hann window, cut-off at 0.99 of half the lower rate: torchaudio's default). Students read the features as
    images of one channel.
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
        return AudioForm(seconds=self.seconds, keep=self.keep, rate=self.rate, features=self.features)
