"""Bands of the mel scale, of which the features of sounds are made."""

from dataclasses import dataclass
from math import exp, log
from typing import Final, Literal, assert_never

MelScale = Literal["slaney", "kaldi"]


@dataclass(frozen=True)
class Bands:
    """Features of sounds of `rate` Hz: `count` bands from `lowest` to `highest` Hz; `window` and `hop` in samples."""

    scale: MelScale
    rate: int
    count: int
    window: int
    hop: int
    lowest: float
    highest: float

    @property
    def transform(self) -> int:
        """Length of the Fourier transform: a window's, of Kaldi the next power of 2."""
        return 1 << (self.window - 1).bit_length() if self.scale == "kaldi" else self.window

    def frames(self, samples: int) -> int:
        """Number of frames of so many samples: of Kaldi those whose window lies within them."""
        return 1 + max(0, samples - self.window) // self.hop if self.scale == "kaldi" else samples // self.hop

    @property
    def edges(self) -> tuple[float, ...]:
        """Ends and centres of the bands in Hz, `count` + 2: band i goes from i over its centre i + 1 to i + 2."""
        low, high = mel(self.scale, self.lowest), mel(self.scale, self.highest)
        return tuple(hertz(self.scale, low + (high - low) * i / (self.count + 1)) for i in range(self.count + 2))

    def check(self) -> None:
        """Raises ValueError for bands that do not rise, and for those between two frequencies of the Fourier transform,
        which would always be empty. Kaldi's may be: networks were trained on 128 bands of windows of 25 ms.
        """
        if not self.lowest < self.highest <= self.rate / 2:
            raise ValueError(
                f"the bands go from {self.lowest:g} to {self.highest:g} Hz, expected them to rise and to end "
                f"at {self.rate / 2:g} Hz, half of `rate`, at most: change `lowest` or `highest`"
            )
        if self.scale == "kaldi":
            return
        step = self.rate / self.transform
        for low, high in zip(self.edges, self.edges[2:], strict=False):
            if (int(low / step) + 1) * step >= high:
                raise ValueError(
                    f"with {self.count} `mels` the band from {low:.0f} to {high:.0f} Hz is narrower than the "
                    f"{step:.0f} Hz that a window of {self.window / self.rate:g} s tells apart: choose fewer `mels`, a "
                    "longer `window` or a higher `lowest`"
                )


_LINEAR: Final = 1000.0
_LINEAR_MELS: Final = 15.0
_LOG_STEP: Final = log(6.4) / 27.0
"""Slaney's mel scale: 200/3 Hz a mel up to 1000 Hz, from there 27 mels for a factor of 6.4. Source: Slaney, Auditory
Toolbox, 1998, as in librosa's `hz_to_mel`.
"""
_KALDI_HERTZ: Final = 700.0
_KALDI_MELS: Final = 1127.0
"""Kaldi's mel scale: 1127 ln(1 + f / 700)."""


def mel(scale: MelScale, hertz: float) -> float:
    """A frequency on a mel scale."""
    match scale:
        case "slaney":
            if hertz < _LINEAR:
                return hertz * _LINEAR_MELS / _LINEAR
            return _LINEAR_MELS + log(hertz / _LINEAR) / _LOG_STEP
        case "kaldi":
            return _KALDI_MELS * log(1.0 + hertz / _KALDI_HERTZ)
        case _:
            assert_never(scale)


def hertz(scale: MelScale, mel: float) -> float:
    """The frequency of a place on a mel scale."""
    match scale:
        case "slaney":
            if mel < _LINEAR_MELS:
                return mel * _LINEAR / _LINEAR_MELS
            return _LINEAR * exp((mel - _LINEAR_MELS) * _LOG_STEP)
        case "kaldi":
            return _KALDI_HERTZ * (exp(mel / _KALDI_MELS) - 1.0)
        case _:
            assert_never(scale)
