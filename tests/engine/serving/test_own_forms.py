"""A model with a form of its own answers files as that form reads them, also beside its student."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contracts.wire.predictions import TaughtOutput
from tests.engine.harness import TEACHER, EngineHarness
from tests.engine.jobs.datasets.photos import as_teacher, folder_of, outside, photos, with_photos
from tests.engine.serving.serving import answer, predictions, refused, session_of

DISTILL: dict[str, Any] = {
    "kind": "distill",
    "teachers": [{"model": TEACHER}],
    "student": {"family": "convnet", "channels": [4]},
    "training": {"steps": 2, "batch_size": 16},
    "distillation": {"allow_chance_teacher": True},
    "control": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> EngineHarness:
    made = EngineHarness(tmp_path_factory.mktemp("photos"))
    with_photos(made, photos())
    as_teacher(made, folder)
    return made


def files_of_test(count: int = 3) -> dict[str, bytes]:
    """The first files of the test split."""
    found = [(name, content) for name, content in photos().items() if name.startswith("test/")]
    return dict(found[:count])


def packed(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def test_an_uploaded_folder_answers_image_files_as_transformers_does(harness: EngineHarness, folder: Path) -> None:
    session, files = session_of(harness.folder, harness.models[TEACHER]), files_of_test()
    expected = outside(folder, files).numpy()
    found = answer(session, "archive", packed(files))["outputs"]["label"]["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    one = answer(session, "image", next(iter(files.values())))["outputs"]["label"]["logits"]
    np.testing.assert_allclose(one, expected[:1], atol=1e-5)


def test_a_teacher_answers_the_files_of_its_student_as_the_job_had_them(harness: EngineHarness) -> None:
    outcome = harness.run(DISTILL)
    assert harness.data is not None
    session = session_of(
        harness.folder,
        harness.models[TEACHER],
        rows_of=outcome.student,
        taught={"0": TaughtOutput(task="label", output="label")},
        dataset=harness.data.manifest,
    )
    found = answer(session, "archive", packed(files_of_test(12)))["outputs"]["0"]["logits"]
    np.testing.assert_allclose(found, predictions(harness)["label/teacher"], atol=1e-4)
    rows = {"inputs": {"photo": np.zeros((1, 32, 32, 3), int).tolist()}}
    assert refused(session, "json", rows) == ("", "wrong_type")
