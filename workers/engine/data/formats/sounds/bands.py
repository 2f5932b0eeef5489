"""Samples of a sound as a row: themselves, or the features of their bands."""

from functools import lru_cache
from typing import Final, assert_never

import numpy as np
from numpy.typing import NDArray

from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.inputs.bands import Bands, mel

_LEAST_POWER: Final = 1e-10
_DECADES: Final = 8.0
_LEAST_OF_KALDI: Final = 2.0**-23
_EMPHASIS: Final = 0.97
_END: Final = 2.0**-24
"""Added to the last sample of a sound that ends in digital silence, so that it differs from the padding: half a step of
24 bits.
"""
Numbers = NDArray[np.float64]


def row_of(samples: Numbers, sound: range, form: AudioForm) -> NDArray[np.float32]:
    """The row [*form.row] of `form.samples` samples, which are silence but for those of `sound`: themselves, or their
    features.
    """
    bands = form.bands
    if bands is None:
        return _with_an_end(samples.astype(np.float32), sound)[None]
    match bands.scale:
        case "slaney":
            found = _log_mel(samples, bands)
        case "kaldi":
            found = _fbank(samples, sound, bands)
        case _:
            assert_never(bands.scale)
    return found.astype(np.float32)[None]


def _with_an_end(samples: NDArray[np.float32], sound: range) -> NDArray[np.float32]:
    """The samples, with _END added in place to the last sample of a sound that equals the sample behind it (the one
    before it, at the end of the row): networks take a run of equal samples at the end of a row for padding. A constant
    sound, such as silence, is left as it is: _END would be its only signal.
    """
    last = sound.stop - 1
    beside = sound.stop if sound.stop < len(samples) else max(0, last - 1)
    if samples[last] == samples[beside] and (samples[sound.start : last] != samples[beside]).any():
        samples[last] += _END
    return samples


def _log_mel(samples: Numbers, bands: Bands) -> Numbers:
    """Features [mels, frames], as `LogMel` describes them."""
    count, length = bands.frames(len(samples)), bands.window
    padded = np.pad(samples, length // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[:: bands.hop][:count]
    window, filters = _tables(bands)
    levels = np.log10(np.maximum(filters @ _power(frames * window, bands).T, _LEAST_POWER))
    levels = np.maximum(levels, levels.max() - _DECADES)
    found: Numbers = (levels + 4.0) / 4.0
    return found


def _fbank(samples: Numbers, sound: range, bands: Bands) -> Numbers:
    """Features [mels, frames], as `Fbank` describes them. A sound that is shorter than a window has the one frame that
    it begins in, or the last.
    """
    first = -(-sound.start // bands.hop)
    last = first + max(1, bands.frames(sound.stop - first * bands.hop))
    count = bands.frames(len(samples))
    chosen = range(min(first, count - 1), min(last, count))
    frames = np.lib.stride_tricks.sliding_window_view(samples, bands.window)[:: bands.hop][chosen.start : chosen.stop]
    window, filters = _tables(bands)
    frames = frames - frames.mean(axis=1, keepdims=True)
    emphasised = frames - _EMPHASIS * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    found = np.zeros((bands.count, count))
    power = _power(emphasised * window, bands)
    found[:, chosen.start : chosen.stop] = np.log(np.maximum(filters @ power.T, _LEAST_OF_KALDI))
    return found


def _power(frames: Numbers, bands: Bands) -> Numbers:
    """[frames, transform // 2 + 1] of windows of samples."""
    spectrum = np.fft.rfft(frames, bands.transform, axis=1)
    power: Numbers = spectrum.real**2 + spectrum.imag**2
    return power


@lru_cache(maxsize=8)
def _tables(bands: Bands) -> tuple[Numbers, Numbers]:
    """(Hann window, filters [mels, transform // 2 + 1]): of Whisper periodic and triangles over Hz of equal area, of
    Kaldi symmetric and triangles over mels of equal height.
    """
    frequencies = np.arange(bands.transform // 2 + 1) * (bands.rate / bands.transform)
    is_kaldi = bands.scale == "kaldi"
    steps = bands.window - 1 if is_kaldi else bands.window
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(bands.window) / steps)
    edges = np.array(bands.edges)
    if is_kaldi:
        frequencies = np.array([mel(bands.scale, each) for each in frequencies])
        edges = np.linspace(mel(bands.scale, bands.lowest), mel(bands.scale, bands.highest), bands.count + 2)
    distances, widths = edges[:, None] - frequencies, np.diff(edges)[:, None]
    rising, falling = -distances[:-2] / widths[:-1], distances[2:] / widths[1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return window, triangles if is_kaldi else triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]
