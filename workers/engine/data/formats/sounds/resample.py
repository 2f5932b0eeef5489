"""Another sampling rate: a windowed sinc, of which only the samples asked for are computed."""

from math import ceil, gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
_CROSSINGS, _CUT_OFF = 6, 0.99
"""Zero crossings of the sinc at each side, and where it cuts off, relative to half the lower rate."""
_BLOCK: Final = 1 << 15
"""About how many new samples are computed at a time."""


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
    width, count = reach(rate, to), len(wanted)
    padded, found = np.pad(samples, width), np.empty(count)
    step = to * max(1, _BLOCK // to) if to <= _BLOCK else _BLOCK
    for begin in range(0, count, step):
        end = min(begin + step, count)
        period = np.arange(wanted.start + begin, wanted.start + min(begin + to, end))
        # After `to` new samples the same weights come again, `rate` samples on.
        places, rests = np.divmod(period * rate, to)
        periods = np.arange(-((begin - end) // len(period)))
        at = periods[:, None] * rate + (places - first)
        block = np.zeros(at.shape)
        for k, weights in enumerate(_weights(rests, rate, to)):
            block += padded[k:].take(at, mode="clip") * weights
        found[begin:end] = block.ravel()[: end - begin]
    return found


def _weights(rests: NDArray[np.int64], rate: int, to: int) -> Numbers:
    """Of new samples that are `rests` / to samples behind one: the weights of the samples around that [2 width + 1, n],
    in reduced rates.
    """
    width, lower = reach(rate, to), min(rate, to) * _CUT_OFF
    offsets = np.arange(-width, width + 1)[:, None] * to
    times = np.clip((offsets - rests) * (lower / (rate * to)), -_CROSSINGS, _CROSSINGS)
    window = np.cos(times * (np.pi / (2 * _CROSSINGS))) ** 2
    weights: Numbers = np.sinc(times) * window * (lower / rate)
    return weights
