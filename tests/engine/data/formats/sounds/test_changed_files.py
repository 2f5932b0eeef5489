"""Sound files of which some bytes are others, or which are cut, give features or are refused by name, and quickly."""

import time
from collections import Counter
from typing import Final

import numpy as np
import pytest

from app.contracts.problems import UserError
from tests.engine.data.formats.sounds.recordings import encoded, features_of, noise

FILES: Final = {
    "wav": encoded(noise(0.1)),
    "wav of 24 bits": encoded(noise(0.1, channels=2), codec="PCM_24"),
    "flac": encoded(noise(0.1), kind="FLAC"),
    "ogg": encoded(noise(0.1), kind="OGG"),
    "opus": encoded(noise(0.1), kind="OGG", codec="OPUS"),
    "mp3": encoded(noise(0.1), kind="MP3"),
}
CODES: Final = {"unsupported_sound", "broken_sound", "sound_too_long"}
CHECKED: Final = ("flac", "ogg", "opus")
"""Formats with checksums: hardly a changed file can be read."""
COUNT, MOST_SECONDS = 60, 5.0


def changed(content: bytes, draw: np.random.Generator) -> bytes:
    """A file with one to eight other bytes, more often at its beginning; one of four is also cut."""
    found = np.frombuffer(content, np.uint8).copy()
    for _ in range(int(draw.integers(1, 9))):
        found[int(len(found) * draw.random() ** 3)] = draw.integers(0, 256)
    return found.tobytes()[: int(draw.integers(1, len(found))) if draw.random() < 0.25 else None]


def outcome(content: bytes) -> str:
    """`read`, or the code of the error."""
    try:
        found = features_of(content, keep="centre")
    except UserError as error:
        return error.code if error.message.startswith("`a.wav` ") else f"{error.code}, without its name"
    return "read" if np.isfinite(found).all() else "not finite"


@pytest.mark.parametrize("name", FILES)
def test_changed_files_are_refused_by_name_or_read(name: str) -> None:
    draw, outcomes = np.random.default_rng(0), Counter[str]()
    for _ in range(COUNT):
        content, begin = changed(FILES[name], draw), time.monotonic()
        outcomes[outcome(content)] += 1
        assert time.monotonic() - begin < MOST_SECONDS
    assert outcomes.keys() <= {*CODES, "read"}
    assert outcomes["broken_sound"]
    assert outcomes["read"] or name in CHECKED
