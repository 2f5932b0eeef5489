"""Spoken digits as a zip of WAV files: by espeak-ng in 16 voices, or as pairs of tones where no speech is needed.

Voices of the test and of the validation are heard in no training sound. Each sound is spoken once for a speed and a
pitch, and stands in the archive a few times with other noise and loudness.
"""

import csv
import io
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOICES: Final = {
    "train": ("m1", "m2", "m4", "m6", "m7", "f1", "f3", "f5", "klatt"),
    "validation": ("m8", "f4"),
    "test": ("m3", "m5", "f2", "klatt2", "steph"),
}
"""Variants of espeak-ng's voices: five of sixteen are heard in the test alone."""
MANNERS: Final = ((120, 35), (140, 65), (160, 50), (185, 40), (210, 60))
"""Speed in words a minute and pitch of 0 to 99."""
LABELLED: Final = 5
"""Sounds of each digit whose label the student sees."""
RATE: Final = 22_050
Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Spoken:
    """A digit as someone says it."""

    digit: int
    voice: str
    manner: tuple[int, int]


class Speaker(Protocol):
    """Makes sound of a digit, [samples] at RATE."""

    def __call__(self, spoken: Spoken) -> Samples: ...


def by_espeak(spoken: Spoken) -> Samples:
    """Speech of espeak-ng."""
    speed, pitch = map(str, spoken.manner)
    command = ["espeak-ng", "-v", f"en-us+{spoken.voice}", "-s", speed, "-p", pitch, "--stdout", DIGITS[spoken.digit]]
    done = subprocess.run(command, capture_output=True, check=True)
    samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float64")
    assert rate == RATE, f"espeak-ng speaks at {rate} Hz, expected {RATE}"
    return np.asarray(samples)


def by_tones(spoken: Spoken) -> Samples:
    """Two tones one after the other, which a voice transposes and a manner slows down. No speech."""
    names = [name for names in VOICES.values() for name in names]
    pitch = 1.0 + 0.02 * (names.index(spoken.voice) - len(names) / 2) / len(names)
    seconds = 24.0 / spoken.manner[0]
    times = np.arange(round(seconds * RATE)) / RATE
    first, second = 300.0 + 300.0 * (spoken.digit % 5), 2000.0 + 1500.0 * (spoken.digit // 5)
    hertz = np.where(times < seconds / 2, first, second) * pitch
    return np.asarray(0.3 * np.sin(2 * np.pi * hertz * times))


def check_espeak() -> None:
    """Raises SystemExit where espeak-ng is not installed."""
    if shutil.which("espeak-ng") is None:
        raise SystemExit(
            "expected espeak-ng, which speaks in this demo, found none: install it (Debian and Ubuntu: `apt-get "
            "install espeak-ng`, macOS: `brew install espeak-ng`), or run `python -m tests.demo.sounds --tones`"
        )


def write_speech(path: Path, speaker: Speaker, copies: int, seed: int = 0) -> None:
    """Write `<split>/<digit>/<voice>-<speed>-<copy>.wav`, `copies` of each sound, and `metadata.csv` with the columns
    `split`, `digit`, and `few`: the digit of a few training sounds, empty for the others, and of all sounds that are
    not trained on.
    """
    spoken = [
        (split, Spoken(digit, voice, manner))
        for split, voices in VOICES.items()
        for digit in range(len(DIGITS))
        for voice in voices
        for manner in MANNERS
    ]
    with ThreadPoolExecutor(2) as pool:
        sounds = list(pool.map(speaker, (each for _, each in spoken)))
    random = np.random.default_rng(seed)
    rows: list[tuple[str, str, str]] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for (split, each), sound in zip(spoken, sounds, strict=True):
            for copy, content in enumerate(_copies(sound, copies, random)):
                name = f"{split}/{DIGITS[each.digit]}/{each.voice}-{each.manner[0]}-{copy}.wav"
                archive.writestr(name, content)
                rows.append((name, split, DIGITS[each.digit]))
        archive.writestr("metadata.csv", _table(rows, random))


def _copies(sound: Samples, count: int, random: np.random.Generator) -> Iterator[bytes]:
    """The sound with silence before, noise of 5 to 20 dB below it, and another loudness."""
    for _ in range(count):
        before = np.zeros(int(random.integers(0, RATE // 10)))
        whole = np.concatenate([before, sound])
        noise = np.sqrt(np.mean(sound**2)) * 10 ** (-random.uniform(5, 20) / 20)
        noisy = (whole + random.normal(0, noise, len(whole))) * 10 ** (-random.uniform(0, 20) / 20)
        file = io.BytesIO()
        soundfile.write(file, np.clip(noisy, -1, 1), RATE, format="WAV", subtype="PCM_16")
        yield file.getvalue()


def _table(rows: list[tuple[str, str, str]], random: np.random.Generator) -> str:
    labelled: set[int] = set()
    for digit in DIGITS:
        trained = [i for i, (_, split, said) in enumerate(rows) if split == "train" and said == digit]
        labelled.update(random.choice(trained, LABELLED, replace=False).tolist())
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(("file_name", "split", "digit", "few"))
    for i, (name, split, digit) in enumerate(rows):
        table.writerow((name, split, digit, digit if split != "train" or i in labelled else ""))
    return file.getvalue()
