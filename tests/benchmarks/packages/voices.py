"""Windows of 16 kHz: vowels of a source and three resonances, tones, noise and near silence, each in noise.

Vowels are pulses in two-pole resonators (Klatt 1980, "Software for a cascade/parallel formant synthesizer"), at the
mean frequencies of Peterson and Barney 1952 for men, moved by up to a fifth as those of other voices are.
"""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import lfilter

Samples = NDArray[np.float64]
RATE: Final = 16_000
FORMANTS: Final = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
BANDWIDTHS: Final = (80, 110, 160)
WARM_UP: Final = 800
"""Samples before a window, in which resonances rise."""


def _vowel(draw: np.random.Generator, count: int) -> Samples:
    pitch = draw.uniform(80, 260) * (1 + draw.uniform(-0.1, 0.1) * np.arange(count + WARM_UP) / RATE)
    sound = (np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0) > 0).astype(np.float64)
    size = draw.uniform(0.9, 1.2)
    for hertz, width in zip(FORMANTS[draw.integers(len(FORMANTS))], BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * width / RATE)
        sound = lfilter([1.0], [1.0, -2 * radius * np.cos(2 * np.pi * hertz * size / RATE), radius**2], sound)
    return np.asarray(sound[WARM_UP:])


def _tone(draw: np.random.Generator, count: int) -> Samples:
    times = np.arange(count) / RATE
    return np.asarray(sum(np.sin(2 * np.pi * hertz * times) for hertz in draw.uniform(80, 5_000, draw.integers(1, 4))))


def _noise(draw: np.random.Generator, count: int) -> Samples:
    colour = draw.uniform(0, 0.95)
    return np.asarray(lfilter([1.0], [1.0, -colour], draw.normal(0, 1, count + WARM_UP)))[WARM_UP:]


SOURCES: Final[tuple[Callable[[np.random.Generator, int], Samples], ...]] = (_vowel, _vowel, _tone, _noise)


def write_windows(path: Path, rows: int, count: int, seed: int = 0) -> None:
    """Write `rows` WAV files of `count` samples into a zip, half of them vowels."""
    draw = np.random.default_rng(seed)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for i in range(rows):
            sound = SOURCES[i % len(SOURCES)](draw, count)
            sound = sound / max(1e-9, float(np.abs(sound).max())) * 10 ** draw.uniform(-1.5, -0.2)
            sound = sound + draw.normal(0, float(sound.std()) * 10 ** draw.uniform(-3, -1), count)
            file = io.BytesIO()
            soundfile.write(file, np.clip(sound, -1, 1), RATE, format="WAV", subtype="PCM_16")
            archive.writestr(f"{i:05}.wav", file.getvalue())
