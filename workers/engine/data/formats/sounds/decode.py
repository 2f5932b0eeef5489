"""From the bytes of a sound file to the features that a manifest asks for.

libsndfile decodes, and only the formats and codecs in FORMATS and CODECS. What a file claims is checked before any of
it is decoded, and nothing is decoded behind the last sample that is needed.
"""

import io
import struct
from collections.abc import Iterator
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.inputs.audio import SOUND_SUFFIXES, AudioForm
from workers.engine.data.formats.sounds.bands import row_of
from workers.engine.data.formats.sounds.resample import new_length, place, reach, resampled

FORMATS: Final = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MPEG", "MP3")
CODECS: Final = (
    "PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "VORBIS", "OPUS",
    "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III",
)  # fmt: skip
RATES: Final = range(4_000, 192_001)
MOST_CHANNELS: Final = 8
MOST_SAMPLES: Final = 1 << 26
"""Of all channels of a file up to the last that is needed: 12 minutes of stereo at 44.1 kHz."""
_HEADS: Final = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3")
"""What files of the formats begin with, beside the frames of MPEG: libsndfile has readers for many others."""
_ESTIMATED: Final = ("MPEG", "MP3")
"""Formats whose number of frames libsndfile may estimate: such a sound ends where it ends."""
_OPEN_BYTES: Final = 0x7FFF0000
"""What WAV files claim at least whose length was not known when their header was written."""
_BLOCK: Final = 1 << 16
"""Frames that are decoded at a time."""


def features(name: str, encoded: bytes, form: AudioForm) -> NDArray[np.float32]:
    """The row [*form.row] of an encoded sound.

    Raises UserError: `unsupported_sound`, `sound_too_long`, `broken_sound`.
    """
    try:
        try:
            with _opened(name, encoded) as file:
                return row_of(*_brought_to(name, file, file.frames, form), form)
        except _EndedError as end:
            if not end.is_estimated or end.frames == 0:
                raise _broken(name, f"is truncated, it ends after {end.frames} samples") from None
            with _opened(name, encoded) as file:
                return row_of(*_brought_to(name, file, end.frames, form), form)
    except soundfile.SoundFileError:
        raise _broken(name, "cannot be decoded, it is truncated or damaged") from None


class _EndedError(Exception):
    """A sound ends before its header says. `is_estimated`: its header says no length, as that of MP3."""

    def __init__(self, frames: int, is_estimated: bool) -> None:
        super().__init__()
        self.frames, self.is_estimated = frames, is_estimated


def _opened(name: str, encoded: bytes) -> soundfile.SoundFile:
    """A sound of which nothing is decoded yet."""
    is_mpeg = len(encoded) > 1 and encoded[0] == 0xFF and encoded[1] >= 0xE0
    if not (encoded.startswith(_HEADS) or is_mpeg):
        raise _unsupported(name, "is no sound of WAV, FLAC, OGG or MP3")
    try:
        file = soundfile.SoundFile(io.BytesIO(encoded))
    except soundfile.SoundFileError:
        raise _broken(name, "cannot be opened, its header is damaged or of an unknown codec") from None
    if file.format not in FORMATS or file.subtype not in CODECS:
        raise _unsupported(name, f"is {file.format} with the codec {file.subtype}")
    if file.samplerate not in RATES:
        found = f"has {file.samplerate} samples a second, expected {RATES[0]} to {RATES[-1]}"
        raise _unsupported(name, found, "resample it, or leave it out")
    if file.channels > MOST_CHANNELS:
        found = f"has {file.channels} channels, expected {MOST_CHANNELS} at most"
        raise _unsupported(name, found, "mix it down, or leave it out")
    if file.frames < 1:
        raise _broken(name, "has no samples")
    if encoded.startswith(b"RIFF") and _is_truncated(encoded):
        raise _broken(name, "is truncated: its header claims more samples than it has")
    return file


def _is_truncated(wav: bytes) -> bool:
    """Whether the samples of a WAV file end before its header says, which libsndfile does not tell. Programs that write
    to a pipe claim 2 or 4 GB: such files are read as far as they go.
    """
    place = 12
    while place + 8 <= len(wav):
        kind, size = struct.unpack_from("<4sI", wav, place)
        if kind == b"data":
            return bool(len(wav) - place - 8 < size < _OPEN_BYTES)
        place += 8 + size + size % 2
    return False


def _brought_to(
    name: str, file: soundfile.SoundFile, frames: int, form: AudioForm
) -> tuple[NDArray[np.float64], range]:
    """(the samples [form.samples] of a sound of `frames` frames: the mean of its channels, resampled, cut or padded
    with silence; which of them are the sound's).
    """
    rate, count = file.samplerate, form.samples
    length = new_length(frames, rate, form.rate)
    begin = max(0, length - count) // 2 if form.keep == "centre" else 0
    wanted = range(begin, min(length, begin + count))
    margin = reach(rate, form.rate) + 1 if rate != form.rate else 0
    first = max(0, place(wanted.start, rate, form.rate) - margin)
    last = min(frames, place(wanted.stop - 1, rate, form.rate) + margin + 1)
    if last * file.channels > MOST_SAMPLES:
        raise UserError(
            "sound_too_long",
            f"`{name}` has {frames} samples in {file.channels} channels, of which {last * file.channels} would be "
            f"decoded, {MOST_SAMPLES} at most: cut it before uploading",
        )
    samples = resampled(_mono(name, file, first, last), first, rate, form.rate, wanted)
    before = (count - len(samples)) // 2 if form.keep == "centre" else 0
    return np.pad(samples, (before, count - len(samples) - before)), range(before, before + len(samples))


def _mono(name: str, file: soundfile.SoundFile, first: int, last: int) -> NDArray[np.float64]:
    """The frames from `first` up to `last`, the mean of the channels [last − first]. All before are decoded too:
    seeking is not exact in all formats.
    """
    found, at = np.empty(last - first), 0
    for block in _blocks(file, last):
        mean = block.mean(axis=1)
        kept = mean[max(0, first - at) :]
        start = max(first, at) - first
        found[start : start + len(kept)] = kept
        at += len(block)
    if at < last:
        raise _EndedError(at, file.format in _ESTIMATED)
    if not np.isfinite(found).all():
        raise _broken(name, "has samples that are NaN or infinite")
    return found


def _blocks(file: soundfile.SoundFile, last: int) -> Iterator[NDArray[np.float64]]:
    at = 0
    while at < last:
        block = file.read(min(_BLOCK, last - at), dtype="float64", always_2d=True)
        if not len(block):
            return
        at += len(block)
        yield block


_OTHER_FORMAT: Final = f"expected files of {', '.join(SOUND_SUFFIXES)}, write it as one of these, or leave it out"


def _unsupported(name: str, what: str, way_out: str = _OTHER_FORMAT) -> UserError:
    return UserError("unsupported_sound", f"`{name}` {what}: {way_out}")


def _broken(name: str, what: str) -> UserError:
    return UserError("broken_sound", f"`{name}` {what}: write it again, or leave it out")
