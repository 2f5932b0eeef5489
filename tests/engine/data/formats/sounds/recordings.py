"""Short sounds as files."""

import io
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from app.contracts.resources.inputs.audio import AudioInput
from app.contracts.resources.manifests import DatasetManifest
from workers.engine.data.formats.sounds.decode import features

Samples = NDArray[np.float64]
RATE = 16_000


def tone(hertz: float, seconds: float = 0.3, rate: int = RATE, loudness: float = 0.5) -> Samples:
    """A sine [samples]."""
    found: Samples = loudness * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return found


def noise(seconds: float = 0.3, rate: int = RATE, seed: int = 0, channels: int = 1) -> Samples:
    """White noise [samples] or [samples, channels]."""
    found = np.random.default_rng(seed).normal(0, 0.1, (round(seconds * rate), channels))
    return found[:, 0] if channels == 1 else found


def encoded(samples: NDArray[Any], rate: int = RATE, kind: str = "WAV", codec: str | None = None) -> bytes:
    """A file of a sound."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=codec)
    return file.getvalue()


def spec(**changes: Any) -> AudioInput:
    """An input of sounds of 0.3 s."""
    return AudioInput.model_validate({"kind": "audio", "seconds": 0.3, **changes})


def features_of(sound: bytes, **changes: Any) -> NDArray[np.float32]:
    """The features of a sound as an input of that spec has them."""
    return features("a.wav", sound, spec(**changes))


def manifest(**changes: Any) -> DatasetManifest:
    """A manifest of sounds of 0.3 s and two classes by folders."""
    return DatasetManifest.model_validate(
        {
            "name": "sounds",
            "format": "sounds",
            "inputs": {"audio": {"kind": "audio", "seconds": 0.3}},
            "targets": {"label": {"kind": "class", "classes": ("high", "low")}},
            **changes,
        }
    )
