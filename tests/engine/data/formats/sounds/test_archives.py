"""Archives in the convention of AudioFolder are read as columns; hostile and confused files are refused by name."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import soundfile
import torch

from app.contracts.problems import UserError
from tests.engine.data.formats.images.archives import encoded as image
from tests.engine.data.formats.images.archives import noise as pixels
from tests.engine.data.formats.images.archives import tarred, zipped
from tests.engine.data.formats.sounds.recordings import RATE, Samples, encoded, features_of, manifest, noise, tone
from workers.engine.data.facts import facts_of
from workers.engine.data.formats.sounds import decode
from workers.engine.data.reading import read_dataset

WAV = encoded(noise())
NAMES = [f"{split}/{label}/{i}.wav" for split in ("train", "val", "test") for label in ("high", "low") for i in "01"]
FOLDERS = {name: encoded(noise(seed=i)) for i, name in enumerate(NAMES)}


def test_folders_are_classes_and_splits_and_facts_say_what_a_student_reads(tmp_path: Path) -> None:
    described = manifest(splits={"column": "split"})
    found = read_dataset(zipped(tmp_path / "a.zip", FOLDERS), described)
    facts = facts_of(found, described)
    assert facts.splits == {"train": 4, "validation": 4, "test": 4}
    assert found.targets["label"].values.tolist() == 3 * [0, 0, 1, 1]
    audio = facts.inputs["audio"]
    assert audio.shape == (1, 64, 30)
    assert audio.raw is not None
    assert (audio.raw.dtype, audio.raw.shape, audio.raw.rows) == ("float32", (1, 64, 30), "float32")
    assert audio.raw.audio is not None
    assert (audio.raw.audio.rate, audio.raw.audio.seconds, audio.raw.image) == (RATE, 0.3, None)
    for row, name in enumerate(sorted(FOLDERS)):
        np.testing.assert_array_equal(found.inputs["audio"][row], features_of(FOLDERS[name]))


def test_a_metadata_table_gives_columns(tmp_path: Path) -> None:
    lines = ["file_name,label,age", *(f"{i}.wav,{'low' if i % 2 else 'high'},{i}.5" for i in range(6))]
    files = {f"{i}.wav": WAV for i in range(6)} | {"metadata.csv": "\n".join(lines).encode()}
    described = manifest(targets={"label": manifest().targets["label"], "age": {"kind": "value"}})
    found = read_dataset(zipped(tmp_path / "a.zip", files), described)
    assert found.targets["label"].values.tolist() == 3 * [0, 1]
    assert found.targets["age"].values.tolist() == [i + 0.5 for i in range(6)]


def test_a_tar_and_parquet_give_the_rows_of_the_zip(tmp_path: Path) -> None:
    files = {f"{label}/{i}.flac": encoded(noise(seed=i), kind="FLAC") for i in range(4) for label in ("high", "low")}
    one = read_dataset(zipped(tmp_path / "a.zip", files), manifest())
    other = read_dataset(tarred(tmp_path / "a.tar", files), manifest())
    assert torch.equal(one.inputs["audio"], other.inputs["audio"])
    names = sorted(files)
    labels = [name.partition("/")[0] for name in names]
    for kind in ("bytes", "struct"):
        column: list[Any] = [files[name] for name in names]
        if kind == "struct":
            column = [{"bytes": content, "path": name} for content, name in zip(column, names, strict=True)]
        path = tmp_path / f"{kind}.parquet"
        pa.parquet.write_table(pa.table({"audio": column, "label": labels}), path, row_group_size=3)
        found = read_dataset(path, manifest(format="parquet"))
        assert torch.equal(found.inputs["audio"], one.inputs["audio"])
        assert found.transforms == one.transforms


def patched(*places: tuple[bytes, int, bytes], of: bytes = WAV) -> bytes:
    """A file of which some bytes, so many behind a word, are others."""
    content = bytearray(of)
    for word, behind, values in places:
        start = content.index(word) + behind
        content[start : start + len(values)] = values
    return bytes(content)


def with_nan(value: float = np.nan) -> bytes:
    sound = noise()
    sound[700] = value
    return encoded(sound, codec="FLOAT")


def silence(samples: int, kind: str = "FLAC", channels: int = 1) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros((samples, channels), np.int16), RATE, format=kind)
    return file.getvalue()


FLAC, OGG, MP3 = (encoded(noise(0.5), kind=kind) for kind in ("FLAC", "OGG", "MP3"))
REFUSED: dict[str, tuple[bytes, str, str]] = {
    "a text": (b"hello", "unsupported_sound", "0.wav"),
    "nothing": (b"", "unsupported_sound", "0.wav"),
    "an image": (image(pixels()), "unsupported_sound", "WAV, FLAC"),
    "a zip": (b"PK\x03\x04" + bytes(60), "unsupported_sound", "0.wav"),
    "an AIFF file": (encoded(noise(), kind="AIFF"), "unsupported_sound", "0.wav"),
    "an AU file": (encoded(noise(), kind="AU"), "unsupported_sound", "0.wav"),
    "a CAF file": (encoded(noise(), kind="CAF"), "unsupported_sound", "0.wav"),
    "a wav of another codec": (encoded(noise(), kind="WAV", codec="GSM610"), "unsupported_sound", "GSM610"),
    "a wav of compressed differences": (encoded(noise(), codec="MS_ADPCM"), "unsupported_sound", "MS_ADPCM"),
    "a wav of an unknown codec": (patched((b"fmt ", 8, b"\x99\x77")), "broken_sound", "codec"),
    "a header alone": (WAV[:12], "broken_sound", "0.wav"),
    "four bytes": (b"RIFF", "broken_sound", "0.wav"),
    "no samples": (encoded(np.zeros(0)), "broken_sound", "no samples"),
    "a truncated wav": (WAV[:-1000], "broken_sound", "truncated"),
    "a wav that claims 1 GB": (patched((b"data", 4, struct.pack("<I", 1 << 30))), "broken_sound", "truncated"),
    "NaN": (with_nan(), "broken_sound", "NaN"),
    "infinity": (with_nan(np.inf), "broken_sound", "NaN or infinite"),
    "a truncated flac": (FLAC[: len(FLAC) // 2], "broken_sound", "0.wav"),
    "a flac with a damaged frame": (FLAC[:2000] + bytes(400) + FLAC[2400:], "broken_sound", "0.wav"),
    "a flac without frames": (FLAC[:60], "broken_sound", "0.wav"),
    "an ogg of one page": (OGG[:100], "broken_sound", "0.wav"),
    "a rate of 1 Hz": (patched((b"fmt ", 12, struct.pack("<I", 1))), "unsupported_sound", "1 samples"),
    "a rate of 2 GHz": (
        patched((b"fmt ", 12, struct.pack("<I", 2_000_000_000))),
        "unsupported_sound",
        "2000000000 samples",
    ),
    "a rate of 0": (patched((b"fmt ", 12, struct.pack("<I", 0))), "broken_sound", "0.wav"),
    "no channels": (patched((b"fmt ", 10, b"\0\0")), "broken_sound", "0.wav"),
    "16 channels": (encoded(noise(channels=16)), "unsupported_sound", "16 channels"),
    "1000 channels": (encoded(noise(0.01, channels=1000)), "unsupported_sound", "1000 channels"),
    "samples of 0 bits": (patched((b"fmt ", 22, b"\0\0")), "broken_sound", "0.wav"),
}


def code_of(path: Path, **changes: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        read_dataset(path, manifest(splits={"fractions": {"train": 1.0}}, **changes))
    return caught.value


@pytest.mark.parametrize("rate", [100, 384_000])
def test_a_rate_that_is_not_read_is_told_with_the_rates_that_are(rate: int, tmp_path: Path) -> None:
    error = code_of(zipped(tmp_path / "a.zip", {"high/0.wav": encoded(noise(0.3, rate), rate), "low/1.wav": WAV}))
    assert error.code == "unsupported_sound"
    expected = f"`high/0.wav` has {rate} samples a second, expected 4000 to 192000: resample it, or leave it out"
    assert error.message == expected


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_sound_is_refused_by_name(case: str, tmp_path: Path) -> None:
    content, code, named = REFUSED[case]
    error = code_of(zipped(tmp_path / "a.zip", {"high/0.wav": content, "low/1.wav": WAV}))
    assert error.code == code, error.message
    assert named in error.message
    assert "high/0.wav" in error.message
    assert ": " in error.message


@pytest.mark.parametrize(
    ("content", "exact"),
    [
        (patched((b"data", 4, b"\xff\xff\xff\xff"), (b"RIFF", 4, b"\xff\xff\xff\xff")), True),
        (patched((b"data", 4, struct.pack("<I", 0x7FFFFFFF - 36))), True),
        (MP3[: len(MP3) - 300], False),
        (MP3[MP3.index(MP3[:2], 4) :], False),
    ],
    ids=["a wav that claims 4 GB", "a wav that claims 2 GB", "an mp3 without its end", "an mp3 without its length"],
)
def test_what_streams_leave_open_is_read_as_far_as_it_goes(content: bytes, exact: bool) -> None:
    found = features_of(content, seconds=1.0)
    if exact:
        np.testing.assert_array_equal(found, features_of(WAV, seconds=1.0))
    assert np.isfinite(found).all()


def test_a_long_file_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MOST_SAMPLES", RATE)
    path = zipped(tmp_path / "a.zip", {"high/0.flac": silence(10 * RATE), "low/1.wav": WAV})
    inputs = {"audio": {"kind": "audio", "seconds": 0.3, "keep": "centre"}}
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    error = code_of(path, inputs=inputs)
    assert error.code == "sound_too_long"
    assert "high/0.flac" in error.message


CONFUSED: dict[str, tuple[dict[str, bytes], str, str]] = {
    "a path upwards": ({"../a.wav": WAV}, "bad_file_name", "../a.wav"),
    "no sound": ({"high/.keep": b""}, "empty_dataset", "no sound"),
    "files of another kind": ({"high/0.wav": WAV, "high/0.aiff": WAV}, "unsupported_sound", "high/0.aiff"),
    "an image": ({"high/0.wav": WAV, "high/0.png": image(pixels())}, "unsupported_sound", "high/0.png"),
    "a sound that the table lacks": (
        {"metadata.csv": b"file_name,label\n0.wav,high", "0.wav": WAV, "1.wav": WAV},
        "metadata_mismatch",
        "1.wav",
    ),
    "a name without a sound": (
        {"metadata.csv": b"file_name,label\n0.wav,high\n9.wav,low", "0.wav": WAV},
        "metadata_mismatch",
        "names without a sound",
    ),
    "sounds without folders": ({"0.wav": WAV, "1.wav": WAV}, "missing_column", "label"),
}


@pytest.mark.parametrize("case", CONFUSED)
def test_a_confused_archive_is_refused_by_name(case: str, tmp_path: Path) -> None:
    files, code, named = CONFUSED[case]
    error = code_of(zipped(tmp_path / "a.zip", files))
    assert (error.code, named in error.message) == (code, True), error.message


def test_an_input_of_sounds_needs_a_column_of_sounds(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FOLDERS)
    wrong = {"x": {"kind": "audio", "seconds": 0.3, "column": "label"}}
    assert code_of(path, inputs=wrong, targets={}).code == "wrong_type"
    np.savez(tmp_path / "a.npz", audio=np.zeros((4, 100), np.float32))
    error = code_of(tmp_path / "a.npz", format="npz", targets={})
    assert (error.code, '"kind": "array"' in error.message) == ("wrong_type", True)


@pytest.mark.parametrize(
    "changes",
    [
        {"targets": {"audio": {"kind": "value"}}},
        {"inputs": {"audio": {"kind": "audio", "seconds": 0.3}, "x": {"kind": "array", "columns": ("audio",)}}},
        {"inputs": {"x": {"kind": "array", "columns": ("audio",)}}},
    ],
    ids=str,
)
def test_a_column_of_sounds_is_an_input_of_sounds_alone(changes: dict[str, Any], tmp_path: Path) -> None:
    error = code_of(zipped(tmp_path / "a.zip", FOLDERS), **changes)
    assert (error.code, '"kind": "audio"' in error.message) == ("wrong_type", True), error.message


Made = Callable[[], Samples]


@pytest.mark.parametrize("made", [noise, lambda: tone(500), lambda: np.zeros(100)], ids=["noise", "tone", "silence"])
def test_inputs_are_standardised_as_numbers_are(made: Made, tmp_path: Path) -> None:
    files = {f"{'high' if i % 2 else 'low'}/{i}.wav": encoded(made() * (1 + i / 10)) for i in range(8)}
    inputs = {"audio": {"kind": "audio", "seconds": 0.3, "standardize": False}}
    plain = read_dataset(zipped(tmp_path / "a.zip", files), manifest(inputs=inputs))
    assert plain.transforms["audio"].std == 1.0
    chosen = read_dataset(tmp_path / "a.zip", manifest())
    assert torch.isfinite(chosen.inputs["audio"]).all()
