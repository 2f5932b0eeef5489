"""Another sampling rate: a windowed sinc, of which only the samples asked for are computed."""

from functools import lru_cache
from math import ceil, gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
_CROSSINGS, _CUT_OFF = 6, 0.99
"""Zero crossings of the sinc at each side, and where it cuts off, relative to half the lower rate."""
_BLOCK: Final = 1 << 20
"""Most numbers of an intermediate array."""


def reach(rate: int, to: int) -> int:
    """How many samples before and after its place a new sample depends on."""
    return ceil(_CROSSINGS * rate / (min(rate, to) * _CUT_OFF))


def new_length(count: int, rate: int, to: int) -> int:
    """How many samples `count` samples become."""
    return -(-count * to // rate)


def place(sample: int, rate: int, to: int) -> int:
    """The sample at or before which a new sample is."""
    return sample * rate // to


def resampled(samples: Numbers, first: int, rate: int, to: int, wanted: range) -> Numbers:
    """The samples `wanted` [n] of a sound at the rate `to`. `samples`: those from `first` on at its own rate, with all
    within `reach`; there is silence before and after.

    y_j = Σ_i x_i h(i/rate − j/to) with h(t) = (b/rate) sinc(b t) cos²(π b t / 12) for |b t| < 6 and
    b = 0.99 min(rate, to): `sinc_interp_hann` of torchaudio with its default width and roll-off. After Smith, Digital
    Audio Resampling, https://ccrma.stanford.edu/~jos/resample/.
    """
    if rate == to:
        return samples[wanted.start - first : wanted.stop - first]
    common = gcd(rate, to)
    rate, to = rate // common, to // common
    width = reach(rate, to)
    padded = np.pad(samples, width + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * width + 1)
    known = _weights_of_phases(rate, to) if to * (2 * width + 1) <= _BLOCK else None
    found = np.empty(len(wanted))
    step = max(1, _BLOCK // (2 * width + 1))
    for begin in range(0, len(wanted), step):
        new = np.arange(wanted.start + begin, wanted.start + min(begin + step, len(wanted)))
        places, rests = np.divmod(new * rate, to)
        weights = _weights(rests, rate, to) if known is None else known[rests]
        rows = np.clip(places - first + 1, 0, len(windows) - 1)
        found[begin : begin + len(new)] = np.einsum("ij,ij->i", windows[rows], weights)
    return found


@lru_cache(maxsize=8)
def _weights_of_phases(rate: int, to: int) -> Numbers:
    """The weights of all rests [to, 2 width + 1]."""
    return _weights(np.arange(to), rate, to)


def _weights(rests: NDArray[np.int64], rate: int, to: int) -> Numbers:
    """Of new samples that are `rests` / to samples behind one: the weights of the samples around that [n, 2 width + 1]
    in reduced rates.
    """
    width, lower = reach(rate, to), min(rate, to) * _CUT_OFF
    offsets = np.arange(-width, width + 1) * to
    times = np.clip((offsets - rests[:, None]) * (lower / (rate * to)), -_CROSSINGS, _CROSSINGS)
    window = np.cos(times * (np.pi / (2 * _CROSSINGS))) ** 2
    weights: Numbers = np.sinc(times) * window * (lower / rate)
    return weights
