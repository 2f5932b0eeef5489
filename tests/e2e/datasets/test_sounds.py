"""A zip of sounds by HTTP: a student that answers sound files, and mistakes that are refused by name."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import Client
from tests.e2e.datasets.test_images import classes, predict
from tests.engine.data.formats.images.archives import encoded as image
from tests.engine.data.formats.images.archives import noise as pixels
from tests.engine.data.formats.images.archives import tarred, zipped
from tests.engine.data.formats.sounds.recordings import encoded, noise, tone
from tests.engine.jobs.datasets.sounds.test_sounds import AUDIO, rows, sounds

Json = dict[str, Any]
MANIFEST: Json = {
    "name": "tones",
    "format": "sounds",
    "inputs": {"audio": AUDIO},
    "targets": {"label": {"kind": "class", "classes": ["high", "low"]}},
    "splits": {"column": "split"},
}


def test_a_zip_of_sounds_becomes_a_student_that_answers_sound_files(client: Client, tmp_path: Path) -> None:
    files = sounds()
    dataset = client.upload("datasets", MANIFEST, zipped(tmp_path / "a.zip", files))
    assert dataset["state"] == "ready", dataset["rejection"]
    training = {"epochs": 10, "batch_size": 32, "learning_rate": 0.05}
    spec = {"kind": "train", "dataset": dataset["id"], "model": {"family": "convnet", "channels": [4]}}
    teacher = client.finish({**spec, "training": training})["student"]
    distil = {"kind": "distill", "dataset": dataset["id"], "student": {"family": "convnet", "channels": [2]}}
    job = client.finish({**distil, "teachers": [{"model": teacher}], "training": training})
    student = job["student"]
    test = {name: content for name, content in files.items() if name.startswith("test")}
    expected = ["high"] * 10 + ["low"] * 10
    packed = tarred(tmp_path / "a.tar", {f"{i:02}.wav": test[name] for i, name in enumerate(sorted(test))})
    assert classes(client, student, "application/x-tar", packed.read_bytes()) == expected
    for kind, file in (("audio/wav", "WAV"), ("audio/flac", "FLAC"), ("audio/ogg", "OGG"), ("audio/mpeg", "MP3")):
        sound = encoded(tone(1_500, 0.2, 44_100) + noise(0.2, 44_100), 44_100, file)
        assert classes(client, student, kind, sound) == ["high"], kind
    bundled = unpacked(client, student, tmp_path)
    for name, content in test.items():
        path = tmp_path / "sounds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    run(bundled / "sounds.py", tmp_path / "rows.npz", tmp_path / "sounds")
    with np.load(tmp_path / "rows.npz") as found:
        np.testing.assert_array_equal(found["audio"], rows(test))
    lines = run(bundled / "predict.py", tmp_path / "rows.npz").splitlines()
    assert [json.loads(line)["label.class"] for line in lines] == expected
    form = client.get(f"/v1/models/{student}")["raw_inputs"]["audio"]["audio"]
    assert (form["rate"], form["seconds"], form["features"]["mels"]) == (16_000, 0.1, 16)
    for kind, body, code in (
        ("audio/wav", b"no sound", "unsupported_sound"),
        ("audio/wav", encoded(noise(0.1))[:-300], "broken_sound"),
        ("image/png", image(pixels()), "wrong_type"),
        ("application/x-tar", tarred(tmp_path / "b.tar", {"a.png": image(pixels())}).read_bytes(), "unsupported_sound"),
    ):
        answer = predict(client, student, kind, body)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code), answer.text


def unpacked(client: Client, model: str, folder: Path) -> Path:
    client.download(f"/v1/models/{model}/bundle?wait=60", folder / "bundle.zip")
    with zipfile.ZipFile(folder / "bundle.zip") as archive:
        archive.extractall(folder / "bundle")
    assert "python sounds.py" in (folder / "bundle" / "README.md").read_text()
    assert not (folder / "bundle" / "images.py").exists()
    return folder / "bundle"


def run(program: Path, *arguments: Path) -> str:
    command = [sys.executable, str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("content", "code"), [(b"no sound", "unsupported_sound"), (encoded(np.zeros(0)), "broken_sound")]
)
def test_an_archive_with_a_bad_file_is_rejected_by_name(
    content: bytes, code: str, client: Client, tmp_path: Path
) -> None:
    manifest = {key: value for key, value in MANIFEST.items() if key != "splits"}
    files = {"high/0.wav": encoded(noise()), "low/1.wav": content}
    found = client.upload("datasets", manifest, zipped(tmp_path / "a.zip", files))
    assert (found["state"], found["rejection"]["code"]) == ("rejected", code)
    assert "low/1.wav" in found["rejection"]["message"]


def test_sounds_and_images_are_not_taken_for_one_another(client: Client, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"high/0.wav": encoded(noise())})
    for kind in ("images", "npz"):
        with path.open("rb") as body:
            answer = client.http.post(
                "/v1/datasets",
                files={"manifest": (None, json.dumps({**MANIFEST, "format": kind})), "file": ("a.zip", body)},
            )
        assert answer.json()["errors"][0]["code"] == "format_mismatch", answer.text
