"""A teacher of samples, with a state and a rate, teaches a student of the log-mel features of the same sounds."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from app.contracts.problems import UserError
from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.specs.jobs import DatasetRef
from app.contracts.wire.orders import ModelInput
from tests.engine.data.formats.images.archives import zipped
from tests.engine.data.formats.sounds.recordings import encoded, noise, tone
from tests.engine.harness import DATASET, TEACHER, EngineHarness, report_of
from tests.engine.jobs.inspection.onnx_graphs import inspected, onnx_manifest
from tests.engine.jobs.inspection.voice_graph import MANIFEST, SAMPLES, UNITS, voice_graph
from workers.engine.common.files import sha256_of
from workers.engine.data.joining import read_datasets
from workers.engine.data.rows.joined import InputLayout
from workers.engine.jobs.inspection.forms import check_form
from workers.engine.models.onnx_graph import OnnxGraph
from workers.engine.serving.rows.encoded import read_file
from workers.engine.serving.rows.forms import InputForm
from workers.engine.teachers.reading import Reading, feeds_of

Json = dict[str, Any]
LENGTH: Json = {"kind": "audio", "rate": 4_000, "seconds": SAMPLES / 4_000}
INPUTS: Json = {
    "wave": {**LENGTH, "features": "samples"},
    "mel": {**LENGTH, "features": {"mels": 8, "window": 0.008, "hop": 0.004}},
}
DISTILL: Json = {
    "kind": "distill",
    "teachers": [{"model": TEACHER, "output": "voice"}],
    "student": {"family": "convnet", "channels": [4], "inputs": ["mel"]},
    "training": {"epochs": 40, "batch_size": 40, "learning_rate": 0.05},
    "distillation": {"allow_chance_teacher": True},
    "exports": ["onnx"],
}
COUNT = 160


def recordings() -> dict[str, bytes]:
    """Low and high tones of many loudnesses in noise, and noise alone."""
    draw, found = np.random.default_rng(0), {}
    for i in range(COUNT):
        sound = noise(SAMPLES / 4_000, 4_000, seed=i) * draw.uniform(0.1, 3)
        if i % 2:
            sound = sound + tone(draw.uniform(150, 1_800), SAMPLES / 4_000, 4_000, draw.uniform(0.05, 0.8))
        found[f"{i:03}.wav"] = encoded(sound, 4_000, codec="FLOAT")
    return found


def as_teacher(harness: EngineHarness, facts: ModelFacts, manifest: Json) -> ModelInput:
    path = harness.folder / "model.onnx"
    return ModelInput(
        id=TEACHER, path=str(path), sha256=sha256_of(path), manifest=onnx_manifest(**manifest), facts=facts
    )


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    made = EngineHarness(tmp_path_factory.mktemp("samples"))
    path = zipped(made.folder / "sounds.zip", recordings())
    made.file(
        path,
        name="sounds",
        format="sounds",
        inputs=INPUTS,
        targets={},
        splits={"fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}},
    )
    made.models[TEACHER] = as_teacher(made, inspected(voice_graph(), made.folder, **MANIFEST), MANIFEST)
    return made


def test_a_state_and_a_rate_are_filled_and_the_state_behind_is_no_output(harness: EngineHarness) -> None:
    facts = harness.models[TEACHER].facts
    assert facts is not None
    assert facts.constants == {"state": 0.0, "sr": 16000.0}
    assert facts.input_shapes == {"wave": (SAMPLES,)}
    assert list(facts.outputs) == ["voice"]


def test_a_student_of_features_agrees_with_a_teacher_of_samples(harness: EngineHarness) -> None:
    report = report_of(harness.run(DISTILL))
    assert (report.fidelity["voice"].agreement or 0.0) > 0.85
    dataset = read_datasets(harness.order(DISTILL), (DatasetRef(dataset=DATASET),))
    waves = dataset.inputs["wave"][:, 0].numpy()
    session = onnxruntime.InferenceSession(harness.folder / "model.onnx", providers=["CPUExecutionProvider"])
    zeros = np.zeros((2, len(waves), UNITS), np.float32)
    (own,) = session.run(["output"], {"input": waves, "state": zeros, "sr": np.array(16000)})
    share = float((own > 0.5).mean())
    assert 0.2 < share < 0.8, "the commonest answer alone would not agree"
    student = onnxruntime.InferenceSession(harness.outputs() / "student.onnx", providers=["CPUExecutionProvider"])
    assert [(each.name, each.shape[1:]) for each in student.get_inputs()] == [("mel", [1, 8, 4])]


def test_samples_of_one_channel_are_rows_of_a_graph_that_leaves_their_number_open(harness: EngineHarness) -> None:
    """The teacher's manifest need not say how many samples a row has: [1, n] has the numbers of [n]."""
    manifest = {**MANIFEST, "inputs": {**MANIFEST["inputs"], "wave": {}}}
    facts = inspected(voice_graph(), harness.folder, **manifest)
    assert facts.input_shapes == {"wave": (None,)}
    fixed = harness.models[TEACHER]
    assert fixed.facts is not None
    dataset = read_datasets(harness.order(DISTILL), (DatasetRef(dataset=DATASET),))
    rows = dataset.inputs["wave"]
    found = []
    for each in (facts, fixed.facts):
        reading = Reading.of(each, InputLayout({"wave": (1, SAMPLES)}))
        graph = OnnxGraph(harness.folder / "model.onnx", threads=1, feeds=feeds_of(each, reading))
        found.append(graph.run(reading.prepare(rows).numpy())["output"])
    np.testing.assert_array_equal(found[0], found[1])
    harness.models[TEACHER] = as_teacher(harness, facts, manifest)
    try:
        short = {**DISTILL, "training": {"epochs": 1}, "exports": []}
        assert report_of(harness.run(short)).fidelity["voice"].agreement is not None
    finally:
        harness.models[TEACHER] = fixed


def test_a_sound_file_in_a_request_becomes_the_samples_that_a_student_was_trained_on(harness: EngineHarness) -> None:
    files = recordings()
    name = min(files)
    dataset = read_datasets(harness.order(DISTILL), (DatasetRef(dataset=DATASET),))
    form = AudioForm.model_validate({key: value for key, value in INPUTS["wave"].items() if key != "kind"})
    found = read_file(files[name], "sound", {"wave": InputForm("wave", "float32", form.row, ("audio",), audio=form)})
    assert found["wave"].shape == (1, 1, SAMPLES)
    np.testing.assert_array_equal(found["wave"][0], dataset.inputs["wave"][0].numpy())


def test_a_teacher_makes_samples_of_files_that_the_dataset_makes_features_of(
    harness: EngineHarness, tmp_path: Path
) -> None:
    made = EngineHarness(tmp_path)
    wave = {"form": {name: value for name, value in INPUTS["wave"].items() if name != "kind"}}
    manifest = {**MANIFEST, "inputs": {**MANIFEST["inputs"], "wave": wave}}
    facts = inspected(voice_graph(), tmp_path, **manifest)
    check_form(facts)
    assert facts.input_shape == (SAMPLES,), "the form says how long an open side is"
    made.models[TEACHER] = as_teacher(made, facts, manifest)
    path = zipped(tmp_path / "sounds.zip", recordings())
    splits = {"fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}}
    made.file(path, format="sounds", inputs={"mel": INPUTS["mel"]}, targets={}, splits=splits)
    student = {name: value for name, value in DISTILL["student"].items() if name != "inputs"}
    short = {**DISTILL, "student": student, "training": {"epochs": 1}, "exports": []}
    made.run(short)
    harness.run({**DISTILL, "training": {"epochs": 1}, "exports": []}, job="both inputs")
    both = [each / "predictions-test.npz" for each in (made.outputs(), harness.outputs("both inputs"))]
    ours, theirs = (np.load(each)["test/voice/teacher"] for each in both)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(("left", "named"), [("sr", "no batch dimension"), ("state", "constant")])
def test_without_its_constant_an_input_is_refused_with_the_way_out(left: str, named: str, tmp_path: Path) -> None:
    inputs = {name: each for name, each in MANIFEST["inputs"].items() if name != left}
    with pytest.raises(UserError, match=named):
        inspected(voice_graph(), tmp_path, **{**MANIFEST, "inputs": inputs})
