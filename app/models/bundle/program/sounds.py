"""`python sounds.py ROWS.npz FILE_OR_FOLDER …`: sound files as rows for `predict.py`, in the order of their paths.

Needs numpy and soundfile. The features or samples are those that the service makes of the same files.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3")
INPUTS = json.loads((Path(__file__).parent / "config.json").read_text("utf-8"))["inputs"]
((NAME, COLUMN, FORM),) = [(name, each["columns"][0], each["raw"]["audio"]) for name, each in INPUTS.items()]
RATE, MEL, SAMPLES = FORM["rate"], FORM["features"], round(FORM["rate"] * FORM["seconds"])


def resampled(x: Numbers, rate: int, wanted: range) -> Numbers:
    """Samples of `x` at RATE, by a sinc of six zero crossings at each side in a Hann window."""
    if rate == RATE:
        return x[wanted.start : wanted.stop]
    old, new = rate // math.gcd(rate, RATE), RATE // math.gcd(rate, RATE)
    width, count = math.ceil(6 * old / (min(old, new) * 0.99)), len(wanted)
    padded, found = np.pad(x, width), np.empty(count)
    step = new * max(1, (1 << 15) // new) if new <= 1 << 15 else 1 << 15
    for begin in range(0, count, step):
        end = min(begin + step, count)
        places, rests = np.divmod(np.arange(wanted.start + begin, wanted.start + min(begin + new, end)) * old, new)
        at = np.arange(-((begin - end) // len(places)))[:, None] * old + places
        times = (np.arange(-width, width + 1)[:, None] * new - rests) * (min(old, new) * 0.99 / (old * new))
        times = np.clip(times, -6, 6)
        weights = np.sinc(times) * np.cos(times * (np.pi / 12)) ** 2 * (min(old, new) * 0.99 / old)
        block = sum(padded[k:].take(at, mode="clip") * each for k, each in enumerate(weights))
        found[begin:end] = np.ravel(block)[: end - begin]
    return found


def samples(path: Path) -> tuple[Numbers, range]:
    """A sound of the model's rate and length: the mean of its channels, cut or padded with silence; where it is."""
    with soundfile.SoundFile(path) as file:  # `soundfile.read` seeks first, which changes last bits of an MP3
        x, rate, centred = file.read(always_2d=True).mean(axis=1), file.samplerate, FORM["keep"] == "centre"
    if not len(x) or not np.isfinite(x).all():
        sys.exit(f"{path} has no samples, or some that are NaN or infinite")
    length = -(-len(x) * RATE // rate)
    begin = max(0, length - SAMPLES) // 2 if centred else 0
    x = resampled(x, rate, range(begin, min(length, begin + SAMPLES)))
    before = (SAMPLES - len(x)) // 2 if centred else 0
    return np.pad(x, (before, SAMPLES - len(x) - before)), range(before, before + len(x))


def hertz(mel: Numbers) -> Numbers:
    return np.where(mel < 15, mel * 1000 / 15, 1000 * np.exp((mel - 15) * (math.log(6.4) / 27)))


def mel(hertz: float) -> float:
    return hertz * 15 / 1000 if hertz < 1000 else 15 + math.log(hertz / 1000) / (math.log(6.4) / 27)


def row(path: Path) -> NDArray[np.float32]:
    """Features [1, mels, frames], or samples [1, n]."""
    x, sound = samples(path)
    if MEL == "samples":
        ended = x.astype(np.float32)
        last, beside = sound.stop - 1, sound.stop if sound.stop < SAMPLES else max(0, sound.stop - 2)
        if ended[last] == ended[beside] and (ended[sound.start : last] != ended[beside]).any():
            ended[last] += 2.0**-24  # marks the end of a sound whose last samples equal the padding
        return ended[None]
    found = fbank(x, sound) if MEL.get("kind") == "fbank" else log_mel(x)
    return found.astype(np.float32)[None]


def log_mel(x: Numbers) -> Numbers:
    """Those of Whisper."""
    window, hop = round(RATE * MEL["window"]), round(RATE * MEL["hop"])
    low, high = mel(MEL["lowest"]), mel(MEL["highest"] or RATE / 2)
    edges = hertz(low + (high - low) * np.arange(MEL["mels"] + 2) / (MEL["mels"] + 1))
    distances, widths = edges[:, None] - np.arange(window // 2 + 1) * (RATE / window), np.diff(edges)[:, None]
    filters = np.maximum(0.0, np.minimum(-distances[:-2] / widths[:-1], distances[2:] / widths[1:]))
    padded = np.pad(x, window // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][: SAMPLES // hop]
    spectrum = np.fft.rfft(frames * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)), axis=1)
    power = filters * (2.0 / (edges[2:] - edges[:-2]))[:, None] @ (spectrum.real**2 + spectrum.imag**2).T
    levels = np.log10(np.maximum(power, 1e-10))
    found: Numbers = (np.maximum(levels, levels.max() - 8.0) + 4.0) / 4.0
    return found


def fbank(x: Numbers, sound: range) -> Numbers:
    """Those of Kaldi: of windows within the sound alone."""
    window, hop = round(RATE * MEL["window"]), round(RATE * MEL["hop"])
    count, first = 1 + (SAMPLES - window) // hop, -(-sound.start // hop)
    last = min(count, first + 1 + max(0, sound.stop - first * hop - window) // hop)
    first, size = min(first, count - 1), 1 << (window - 1).bit_length()
    low, high = (1127 * math.log(1 + each / 700) for each in (MEL["lowest"], MEL["highest"] or RATE / 2))
    edges = np.linspace(low, high, MEL["mels"] + 2)
    places = 1127 * np.log(1 + np.arange(size // 2 + 1) * (RATE / size) / 700)
    distances, widths = edges[:, None] - places, np.diff(edges)[:, None]
    filters = np.maximum(0.0, np.minimum(-distances[:-2] / widths[:-1], distances[2:] / widths[1:]))
    frames = np.lib.stride_tricks.sliding_window_view(x, window)[::hop][first:last]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / (window - 1))
    spectrum, found = np.fft.rfft(frames * hann, size, axis=1), np.zeros((MEL["mels"], count))
    found[:, first:last] = np.log(np.maximum(filters @ (spectrum.real**2 + spectrum.imag**2).T, 2.0**-23))
    return found


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    given = [Path(each) for each in sys.argv[2:]]
    paths = sorted(path for each in given for path in (each.rglob("*") if each.is_dir() else [each]))
    paths = [path for path in paths if path in given or path.suffix.lower() in SUFFIXES]
    if not paths:
        sys.exit(f"expected sounds ({', '.join(SUFFIXES)}), found none")
    rows: dict[str, Any] = {COLUMN: np.stack([row(path) for path in paths])}
    np.savez(sys.argv[1], **rows)
    print(f"{sys.argv[1]}: {len(paths)} rows", *paths, sep="\n")


main()
