"""An archive of sounds trains, distils and exports as the same features in an array do."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from app.contracts.specs.jobs import DatasetRef
from tests.engine.data.formats.images.archives import zipped
from tests.engine.data.formats.sounds.recordings import encoded, features_of, noise, tone
from tests.engine.harness import DATASET, TEACHER, EngineHarness, report_of
from workers.engine.data.joining import digest_facts, read_datasets

Json = dict[str, Any]
CLASSES = ("high", "low")
TARGETS: Json = {"label": {"kind": "class", "classes": list(CLASSES)}}
AUDIO: Json = {"kind": "audio", "seconds": 0.1, "features": {"mels": 16}}
STUDENT: Json = {"family": "convnet", "channels": [4]}
TRAIN: Json = {
    "kind": "train",
    "target": "label",
    "model": STUDENT,
    "training": {"epochs": 10, "batch_size": 32, "learning_rate": 0.05},
    "exports": ["onnx"],
}
COUNT = 80


def sounds() -> dict[str, bytes]:
    """High and low tones in noise by their paths, a split and a class for each."""
    found = {}
    for i in range(COUNT):
        split, label = ("train", "train", "validation", "test")[i % 4], CLASSES[i >= COUNT // 2]
        hertz = (1_500 if label == "high" else 300) * (1 + 0.2 * np.sin(i))
        found[f"{split}/{label}/{i:02}.wav"] = encoded(tone(hertz, 0.1) + noise(0.1, seed=i))
    return found


def rows(files: dict[str, bytes]) -> NDArray[np.float32]:
    form = {name: value for name, value in AUDIO.items() if name != "kind"}
    return np.stack([features_of(files[name], **form) for name in sorted(files)])


def as_archive(harness: EngineHarness, files: dict[str, bytes]) -> None:
    path = zipped(harness.folder / "sounds.zip", files)
    inputs = {"audio": {**AUDIO, "standardize": True}}
    harness.file(path, format="sounds", inputs=inputs, targets=TARGETS, splits={"column": "split"})


def as_arrays(harness: EngineHarness, files: dict[str, bytes]) -> None:
    """The same rows in the same order, as an npz file."""
    parts = [name.split("/") for name in sorted(files)]
    arrays = {
        "audio": rows(files),
        "label": np.array([part[1] for part in parts]),
        "split": np.array([part[0] for part in parts]),
    }
    harness.dataset(
        arrays, inputs={"audio": {"kind": "array", "standardize": True}}, targets=TARGETS, splits={"column": "split"}
    )


def distilled(harness: EngineHarness) -> dict[str, torch.Tensor]:
    short = {**TRAIN, "training": {"epochs": 2, "batch_size": 32}, "exports": []}
    teacher = harness.run({**short, "model": {"family": "convnet", "channels": [8]}}, job="teacher")
    harness.teacher(teacher, harness.folder / "teacher" / "attempt-1")
    distil = {key: value for key, value in short.items() if key not in ("kind", "model")}
    spec = {**distil, "kind": "distill", "student": STUDENT, "teachers": [{"model": TEACHER}]}
    harness.run({**spec, "distillation": {"allow_chance_teacher": True}})
    return harness.weights()


def test_an_archive_of_sounds_gives_the_student_of_the_same_features_in_an_array(tmp_path: Path) -> None:
    files, weights = sounds(), []
    for name, put in (("archive", as_archive), ("arrays", as_arrays)):
        (tmp_path / name).mkdir()
        harness = EngineHarness(tmp_path / name)
        put(harness, files)
        weights.append(distilled(harness))
    assert all(torch.equal(each, weights[1][name]) for name, each in weights[0].items())


def test_the_onnx_file_takes_features_and_gives_the_predictions_of_the_report(harness: EngineHarness) -> None:
    files = sounds()
    as_archive(harness, files)
    report = report_of(harness.run(TRAIN))
    assert report.student.tasks["label"]["accuracy"] == 1.0
    session = onnxruntime.InferenceSession(harness.outputs() / "student.onnx", providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape[1:]) == ("audio", "tensor(float)", [1, 16, 10])
    test = rows({name: content for name, content in files.items() if name.startswith("test")})
    (probabilities,) = session.run(["label.probabilities"], {"audio": test})
    assert probabilities.argmax(1).tolist() == [0] * 10 + [1] * 10


def test_a_job_reads_the_features_that_another_made_with_the_same_bits(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_archive(harness, sounds())
    spec = {**TRAIN, "exports": []}
    harness.run(spec, "first")
    monkeypatch.setattr("workers.engine.data.formats.sounds.rows.features", None)
    harness.run(spec, "second")
    assert harness.digest("first") == harness.digest("second")


def test_students_depend_on_the_decoder(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of it may give other features of the same file."""
    as_archive(harness, sounds())
    order = harness.order(TRAIN)
    dataset = read_datasets(order, [DatasetRef(dataset=DATASET)])
    before = digest_facts(order, dataset)
    monkeypatch.setattr("soundfile.__version__", "0.1")
    assert digest_facts(order, dataset) != before
