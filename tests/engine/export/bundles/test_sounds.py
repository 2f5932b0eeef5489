"""`sounds.py` of a bundle makes of sound files the features that the service makes of them, bit by bit."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import app.models.bundle
from tests.engine.data.formats.sounds.recordings import encoded, features_of, noise, spec, tone

PROGRAM = Path(app.models.bundle.__path__[0]) / "program" / "sounds.py"


def files() -> dict[str, bytes]:
    """Sounds of many kinds, in no order of their names."""
    return {
        "short.wav": encoded(tone(700, 0.1)),
        "long.flac": encoded(noise(1.1), kind="FLAC"),
        "stereo.wav": encoded(noise(0.4, 44_100, channels=2), 44_100),
        "deep.wav": encoded(noise(0.3, 48_000), 48_000, codec="PCM_24"),
        "odd.wav": encoded(noise(0.5, 44_101), 44_101, codec="FLOAT"),
        "low.ogg": encoded(noise(0.5, 8_000), 8_000, kind="OGG"),
        "song.mp3": encoded(noise(0.5, 22_050), 22_050, kind="MP3"),
        "silence.wav": encoded(np.zeros(500)),
    }


def program(folder: Path, *arguments: Path, **form: Any) -> subprocess.CompletedProcess[str]:
    shutil.copy(PROGRAM, folder)
    audio = spec(**form).form.model_dump(mode="json")
    config = {"inputs": {"x": {"columns": ["audio"], "raw": {"audio": audio}}}}
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, str(folder / "sounds.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"keep": "centre", "seconds": 0.45},
        {"rate": 22_050, "features": {"mels": 40, "lowest": 50.0, "highest": 7_600.0}},
        {"rate": 11_025, "keep": "centre", "features": "samples"},
        {"features": {"kind": "fbank"}},
        {"rate": 8_000, "keep": "centre", "seconds": 0.45, "features": {"kind": "fbank", "mels": 24, "lowest": 50.0}},
        {"rate": 8_000, "features": {"window": 0.032, "hop": 0.016, "mels": 32}},
    ],
    ids=str,
)
def test_its_features_are_those_of_the_service(form: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "sounds" / "more").mkdir(parents=True)
    (tmp_path / "sounds" / "notes.txt").write_text("no sound")
    for i, (name, content) in enumerate(files().items()):
        (tmp_path / "sounds" / ("more" if i % 2 else "") / name).write_bytes(content)
    done = program(tmp_path, tmp_path / "rows.npz", tmp_path / "sounds", **form)
    assert done.returncode == 0, done.stderr
    paths = sorted(path for path in (tmp_path / "sounds").rglob("*.*") if path.suffix != ".txt")
    assert done.stdout.splitlines()[1:] == [str(path) for path in paths]
    with np.load(tmp_path / "rows.npz") as rows:
        expected = [features_of(path.read_bytes(), **form) for path in paths]
        np.testing.assert_array_equal(rows["audio"], np.stack(expected))


def test_no_sound_and_one_without_samples_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = program(tmp_path, tmp_path / "rows.npz", tmp_path / "empty")
    assert (done.returncode, "found none" in done.stderr) == (1, True)
    (tmp_path / "nothing.wav").write_bytes(encoded(np.zeros(0)))
    done = program(tmp_path, tmp_path / "rows.npz", tmp_path / "nothing.wav")
    assert (done.returncode, "no samples" in done.stderr) == (1, True)
    assert not (tmp_path / "rows.npz").exists()
