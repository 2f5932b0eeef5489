"""A zip of images trains, distils and exports as the same pixels in an array do."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from app.contracts.specs.jobs import DatasetRef
from tests.engine.data.formats.images.archives import encoded, zipped
from tests.engine.harness import DATASET, TEACHER, EngineHarness, report_of
from tests.engine.jobs.preflight.test_preflight import preflight
from workers.engine.data.joining import digest_facts, read_datasets
from workers.engine.data.tables.digest import reading_facts

Json = dict[str, Any]
SIDE, CLASSES = 8, ("cat", "dog")
TARGETS: Json = {"label": {"kind": "class", "classes": list(CLASSES)}}
STUDENT: Json = {"family": "convnet", "channels": [4]}
TRAIN: Json = {
    "kind": "train",
    "target": "label",
    "model": STUDENT,
    "training": {"epochs": 10, "batch_size": 32, "learning_rate": 0.05},
    "exports": ["onnx"],
}


def pictures(count: int) -> NDArray[np.uint8]:
    """Cats are brighter above, dogs below; each class in a row."""
    found = np.random.default_rng(0).integers(0, 160, (count, SIDE, SIDE, 3), np.uint8)
    found[: count // 2, : SIDE // 2] += 90
    found[count // 2 :, SIDE // 2 :] += 90
    return found


def splits(count: int) -> list[str]:
    return [("train", "train", "train", "validation", "test")[i % 5] for i in range(count)]


def archive(folder: Path, images: NDArray[np.uint8]) -> Path:
    count = len(images)
    names = [f"{split}/{CLASSES[i >= count // 2]}/{i:03}.png" for i, split in enumerate(splits(count))]
    return zipped(folder / "photos.zip", {name: encoded(each) for name, each in zip(names, images, strict=True)})


def in_order_of_paths(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    count = len(images)
    return np.array(sorted(range(count), key=lambda i: (splits(count)[i], i >= count // 2, i)))


def as_archive(harness: EngineHarness, images: NDArray[np.uint8]) -> None:
    image = {"kind": "image", "size": [SIDE, SIDE], "standardize": True}
    path = archive(harness.folder, images)
    harness.file(path, format="images", inputs={"image": image}, targets=TARGETS, splits={"column": "split"})


def as_arrays(harness: EngineHarness, images: NDArray[np.uint8]) -> None:
    """The same rows in the same order, as an npz file."""
    order = in_order_of_paths(images)
    arrays = {
        "image": images[order],
        "label": np.array(CLASSES)[(order >= len(images) // 2).astype(int)],
        "split": np.array(splits(len(images)))[order],
    }
    image = {"kind": "array", "layout": "channels_last", "standardize": True}
    harness.dataset(arrays, inputs={"image": image}, targets=TARGETS, splits={"column": "split"})


def distilled(harness: EngineHarness) -> dict[str, torch.Tensor]:
    short = {**TRAIN, "training": {"epochs": 2, "batch_size": 32}, "exports": []}
    teacher = harness.run({**short, "model": {"family": "convnet", "channels": [8]}}, job="teacher")
    harness.teacher(teacher, harness.folder / "teacher" / "attempt-1")
    distil = {key: value for key, value in short.items() if key not in ("kind", "model")}
    spec = {**distil, "kind": "distill", "student": STUDENT, "teachers": [{"model": TEACHER}]}
    harness.run({**spec, "distillation": {"allow_chance_teacher": True}})
    return harness.weights()


def test_a_zip_of_images_gives_the_student_of_the_same_pixels_in_an_array(tmp_path: Path) -> None:
    images = pictures(120)
    weights = []
    for name, put in (("archive", as_archive), ("arrays", as_arrays)):
        (tmp_path / name).mkdir()
        harness = EngineHarness(tmp_path / name)
        put(harness, images)
        weights.append(distilled(harness))
    assert all(torch.equal(each, weights[1][name]) for name, each in weights[0].items())


def test_the_onnx_file_takes_pixels_and_gives_the_predictions_of_the_report(harness: EngineHarness) -> None:
    images = pictures(120)
    as_archive(harness, images)
    report = report_of(harness.run(TRAIN))
    assert report.student.tasks["label"]["accuracy"] == 1.0
    session = onnxruntime.InferenceSession(harness.outputs() / "student.onnx", providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape[1:]) == ("image", "tensor(uint8)", [SIDE, SIDE, 3])
    test = images[np.array(splits(120)) == "test"]
    (probabilities,) = session.run(["label.probabilities"], {"image": test})
    assert probabilities.argmax(1).tolist() == [0] * 12 + [1] * 12


@pytest.mark.parametrize("most", [0, 1 << 20], ids=["by batch", "prepared"])
def test_a_job_reads_the_images_that_another_decoded_with_the_same_bits(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.engine.data.rows.inputs._PREPARED_BYTES_OF_PIXELS", most)
    harness = EngineHarness(tmp_path)
    as_archive(harness, pictures(120))
    spec = {**TRAIN, "exports": []}
    harness.run(spec, "first")
    with monkeypatch.context() as patched:
        patched.setattr("workers.engine.data.formats.images.pixels.pixels", None)
        harness.run(spec, "second")
    assert harness.digest("first") == harness.digest("second")
    harness.run(spec, "own", cache_bytes=1)
    assert harness.digest("own") == harness.digest("first")
    kept = [tmp_path / folder / "images" for folder in ("cache", "own/checkpoints")]
    assert [len(list(folder.glob("*/manifest.json"))) for folder in kept] == [1, 1]


def test_soft_targets_and_controls_are_those_of_the_decoder(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of it may give other pixels of the same file."""
    as_archive(harness, pictures(20))
    assert harness.data is not None
    order = harness.order(TRAIN)
    dataset = read_datasets(order, [DatasetRef(dataset=DATASET)])
    before = reading_facts(harness.data.manifest), digest_facts(order, dataset)
    monkeypatch.setattr("PIL.__version__", "0.1")
    after = reading_facts(harness.data.manifest), digest_facts(order, dataset)
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_a_preflight_counts_no_memory_for_mapped_images(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_archive(harness, pictures(120))
    spec = {**TRAIN, "exports": []}
    whole = preflight(harness, spec, name="prepared").memory
    monkeypatch.setattr("workers.engine.data.rows.inputs._PREPARED_BYTES_OF_PIXELS", 0)
    mapped = preflight(harness, spec, name="by batch").memory
    assert (whole.rows, mapped.rows) == (4 * 120 * SIDE * SIDE * 3, 120 * SIDE * SIDE * 3)
    assert whole.total is not None
    assert mapped.total is not None
    assert whole.total - mapped.total == whole.rows
