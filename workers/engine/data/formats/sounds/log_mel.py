"""Samples of a sound as a row: themselves, or log-mel features."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from app.contracts.resources.inputs.audio import AudioForm, Bands

_LEAST_POWER, _DECADES = 1e-10, 8.0


def row_of(samples: NDArray[np.float64], form: AudioForm) -> NDArray[np.float32]:
    """The row [*form.row] of `form.samples` samples: themselves, or their log-mel features."""
    bands = Bands.of(form)
    return samples.astype(np.float32)[None] if bands is None else _log_mel(samples, bands)


def _log_mel(samples: NDArray[np.float64], bands: Bands) -> NDArray[np.float32]:
    """Features [1, mels, frames], as `LogMel` describes them."""
    length = bands.window
    padded = np.pad(samples, length // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[:: bands.hop][: len(samples) // bands.hop]
    window, filters = _tables(bands)
    spectrum = np.fft.rfft(frames * window, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    levels = np.log10(np.maximum(filters @ power.T, _LEAST_POWER))
    levels = np.maximum(levels, levels.max() - _DECADES)
    found: NDArray[np.float32] = ((levels + 4.0) / 4.0).astype(np.float32)[None]
    return found


@lru_cache(maxsize=8)
def _tables(bands: Bands) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(periodic Hann window [n], filters [mels, n // 2 + 1])."""
    count = bands.window
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(count) / count)
    edges = np.array(bands.edges)
    distances = edges[:, None] - np.arange(count // 2 + 1) * (bands.rate / count)
    widths = np.diff(edges)[:, None]
    rising, falling = -distances[:-2] / widths[:-1], distances[2:] / widths[1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return window, triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]
