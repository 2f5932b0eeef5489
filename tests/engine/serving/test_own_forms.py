"""A model with a form of its own answers files as that form reads them, also beside its student."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from app.contracts.problems import UserError
from app.contracts.wire.orders import ModelInput
from app.contracts.wire.predictions import TaughtOutput
from tests.engine.data.formats.images.archives import pixels_of
from tests.engine.harness import TEACHER, EngineHarness
from tests.engine.jobs.datasets.forms.photos import DISTILL, folder_of, outside, photos, taught
from tests.engine.jobs.inspection.onnx_graphs import graph, inspected, onnx_manifest, value
from tests.engine.serving.serving import answer, predictions, refused, session_of
from workers.engine.common.files import sha256_of
from workers.engine.jobs.inspection.forms import check_form


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> EngineHarness:
    return taught(EngineHarness(tmp_path_factory.mktemp("photos")), folder)


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
    reply, _ = session.answer("sound", b"RIFF")
    assert (reply.status, reply.code) == (422, "wrong_type")
    assert reply.detail is not None
    assert reply.detail.startswith("expected image files (.jpg, .jpeg, .png, .webp, .bmp), which `image` is made of")
    reply, _ = session.answer("json", json.dumps({"inputs": {"image": [[[0, 0, 0]]]}}).encode())
    assert reply.detail is not None
    assert "dataset" not in reply.detail, "of an upload there is none"


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


def test_an_uploaded_graph_with_a_form_answers_files_in_place_of_its_rows(
    harness: EngineHarness, tmp_path: Path
) -> None:
    """Mean brightness of each channel; the form says the sides that the graph leaves open."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]
    content = graph(*nodes, inputs=[value("image", ["n", 3, "h", "w"])], outputs=[value("y", ["n", 3])])
    manifest = {"inputs": {"image": {"form": {"size": [5, 7], "fit": "stretch"}, "scale": 0.5}}}
    facts = inspected(content, tmp_path, **manifest)
    check_form(facts)
    assert facts.input_shape == (3, 5, 7)
    path = tmp_path / "model.onnx"
    model = ModelInput(
        id=TEACHER, manifest=onnx_manifest(**manifest), facts=facts, path=str(path), sha256=sha256_of(path)
    )
    file = next(iter(photos().values()))
    found = answer(session_of(tmp_path, model), "image", file)["outputs"]["y"]["logits"]
    expected = pixels_of(file, size=(5, 7), fit="stretch").mean((0, 1)) * 0.5
    np.testing.assert_allclose(found, expected[None], rtol=1e-5)


def test_a_form_is_for_a_graph_of_one_input(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "z"], ["y"])]
    rows = [value(name, ["n", 3]) for name in ("x", "z")]
    content = graph(*nodes, inputs=rows, outputs=[value("y", ["n", 3])])
    facts = inspected(content, tmp_path, inputs={"x": {"form": {"size": [1, 1]}}})
    with pytest.raises(UserError, match="a model of one input, and this one has 2") as caught:
        check_form(facts)
    assert caught.value.code == "input_mismatch"
