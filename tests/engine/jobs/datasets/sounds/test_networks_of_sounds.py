"""Networks of transformers for sounds as teachers and students of a dataset of sound files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from app.contracts.resources.manifests import ModelManifest
from app.contracts.wire.orders import ModelInput
from tests.engine.data.formats.images.archives import zipped
from tests.engine.data.formats.sounds.recordings import RATE, features_of
from tests.engine.export.bundles.bare_python import unpacked
from tests.engine.harness import TEACHER, EngineHarness, StopAtStep, made_once, report_of
from tests.engine.jobs.datasets.sounds.test_sounds import TARGETS, sounds
from tests.engine.models.library import sound_folders
from tests.engine.models.library.folders import packed
from tests.exhaustive import sample
from workers.engine.common.files import sha256_of
from workers.engine.common.stop import Stopped
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.jobs.inspection.huggingface.convert import convert_folder
from workers.engine.jobs.inspection.library_trunks import measured_manifest
from workers.engine.models.families.library.packages import package

Json = dict[str, Any]
WAVE: Json = {"seconds": 0.1, "features": "samples"}
FBANK: Json = {"seconds": 0.415, "features": {"kind": "fbank", "mels": 32}}
MEL: Json = {"seconds": 0.4, "features": {"mels": 32}}
FORMS: Json = {"wave": WAVE, "fbank": FBANK, "mel": MEL}
OF: Json = {"whisper": "mel", "audio-spectrogram-transformer": "fbank"}
TRAINING: Json = {"steps": 40, "batch_size": 20, "learning_rate": 0.01}


@made_once
def with_sounds(harness: EngineHarness) -> EngineHarness:
    """High and low tones as samples and as features of both kinds."""
    path = zipped(harness.folder / "sounds.zip", sounds())
    inputs = {name: {"kind": "audio", "standardize": False, **form} for name, form in FORMS.items()}
    harness.file(path, format="sounds", inputs=inputs, targets=TARGETS, splits={"column": "split"})
    return harness


def student(name: str, **fields: Any) -> Json:
    """A small network of a type, of random weights."""
    config = {key: value for key, value in sound_folders.CONFIGS[name].items() if not key.startswith("decoder")}
    return {"family": "huggingface", "name": name, "config": config, "inputs": [OF.get(name, "wave")], **fields}


def taught(
    harness: EngineHarness, folder: Path, name: str = "wav2vec2", input_name: str = "wave", **changes: Any
) -> Any:
    """A folder of transformers as a teacher; its network."""
    made = sound_folders.network(name, classes=("high", "low"), **changes)
    manifest: Json = {"name": "teacher", "format": "huggingface", "outputs": {"label": {"kind": "class"}}}
    spec = {"shape": [1, sound_folders.SAMPLES]} if name not in OF else {}
    manifest["inputs"] = {OF.get(name, input_name): spec}
    archive = packed(sound_folders.saved(made, folder / "model"), folder / "teacher.zip")
    path = harness.folder / "teacher.safetensors"
    found = convert_folder(archive, path, ModelManifest.model_validate_json(json.dumps(manifest)))
    facts = inspect_family_model(path, measured_manifest(found.manifest))
    model = ModelInput(id=TEACHER, manifest=found.manifest, facts=facts, path=str(path), sha256=sha256_of(path))
    harness.models[TEACHER] = model
    return made


def distill(network: Json, **fields: Any) -> Json:
    spec = {"kind": "distill", "target": "label", "teachers": [{"model": TEACHER}], "control": False}
    untrained = {"allow_chance_teacher": True, **fields.pop("distillation", {})}
    return {**spec, "student": network, "training": TRAINING, "distillation": untrained, **fields}


TESTED = {name: content for name, content in sounds().items() if name.startswith("test")}


def extracted(bundle: Path, heard: list[Any]) -> Any:
    """What the lines of a bundle's card make of samples."""
    lines = [line.strip() for line in (bundle / "README.md").read_text().splitlines() if "extract" in line]
    code = [line.replace('"huggingface"', repr(str(bundle / "huggingface"))) for line in lines if " = " in line]
    names = {"transformers": package("transformers"), "sounds": heard}
    exec("\n".join(code), names)
    return names["rows"]


@pytest.mark.parametrize("name", sample(sorted(sound_folders.CONFIGS), ["wav2vec2", "audio-spectrogram-transformer"]))
def test_a_student_of_each_type_is_loaded_by_transformers_with_the_answers_of_its_graph(
    name: str, harness: EngineHarness, tmp_path: Path
) -> None:
    with_sounds(harness)
    spec = {"kind": "train", "target": "label", "model": student(name), "training": TRAINING}
    outcome = harness.run({**spec, "exports": ["onnx", "int8", "fp16"]})
    report = report_of(outcome)
    assert (report.student.tasks["label"]["accuracy"] or 0.0) > 0.9
    parties = {name: party.method for name, party in report.quantized.items()}
    assert parties == {"student_int8": "static", "student_fp16": "half"}
    assert all((party.fidelity["label"].agreement or 0.0) >= 0.9 for party in report.quantized.values())
    files = [TESTED[path] for path in sorted(TESTED)]
    form = FORMS[OF.get(name, "wave")]
    rows = np.stack([features_of(content, **form) for content in files])
    session = onnxruntime.InferenceSession(harness.outputs() / "student.onnx", providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    (expected,) = session.run(["label.logits"], {taken.name: rows})
    bundle = unpacked(outcome, harness.outputs(), tmp_path / "bundle")
    batch = extracted(bundle, [features_of(content, **WAVE)[0] for content in files])
    network = package("transformers").AutoModelForAudioClassification.from_pretrained(bundle / "huggingface").eval()
    with torch.no_grad():
        found = network(**batch).logits
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-3, atol=1e-4)
    assert network.config.id2label == {0: "high", 1: "low"}


@pytest.mark.parametrize("masked", [False, True])
def test_a_teacher_of_samples_teaches_a_student_of_features_and_one_of_its_own_layers(
    masked: bool, harness: EngineHarness, tmp_path: Path
) -> None:
    with_sounds(harness)
    theirs = taught(harness, tmp_path, **(sound_folders.MASKED if masked else {}))
    files = [TESTED[path] for path in sorted(TESTED)]
    processor = sound_folders.extractor("wav2vec2")
    batch = processor([features_of(content, **WAVE)[0] for content in files], sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        classes = theirs(**batch).logits.argmax(1)
    report = report_of(harness.run(distill({"family": "convnet", "channels": [4], "inputs": ["mel"]}), "mel"))
    right = (classes.numpy() == np.repeat([0, 1], len(files) // 2)).mean()
    assert report.teachers[0].tasks["label"]["accuracy"] == pytest.approx(right)
    layers = {"student_layer": "trunk.wav2vec2.encoder.layers.0", "teacher_layer": "trunk.wav2vec2.encoder.layers.1"}
    features = [{"method": "fitnets", "weight": 1.0, **layers}]
    cut = harness.run(
        distill({"from_teacher": {"layers": [1]}, "inputs": ["wave"]}, distillation={"features": features}), "cut"
    )
    assert cut.student.architecture is not None
    assert (cut.student.parameters or 0) < (report.teachers[0].parameters or 0)


@pytest.mark.parametrize("inputs", [["mel"], ["wave", "mel"]], ids=["features alone", "two inputs of one column"])
def test_a_teacher_hears_the_files_of_a_dataset_whose_inputs_have_other_names(
    inputs: list[str], harness: EngineHarness, tmp_path: Path
) -> None:
    path = zipped(harness.folder / "sounds.zip", sounds())
    forms = {name: {"kind": "audio", **FORMS[name]} for name in inputs}
    harness.file(path, format="sounds", inputs=forms, targets=TARGETS, splits={"column": "split"})
    theirs = taught(harness, tmp_path, input_name="audio")
    rows = [features_of(TESTED[name], **WAVE)[0] for name in sorted(TESTED)]
    batch = sound_folders.extractor("wav2vec2")(rows, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        classes = theirs(**batch).logits.argmax(1).numpy()
    report = report_of(harness.run(distill({"family": "convnet", "channels": [4], "inputs": ["mel"]})))
    right = (classes == np.repeat([0, 1], len(rows) // 2)).mean()
    assert report.teachers[0].tasks["label"]["accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("inputs", [["mel", "wave"], ["wave", "mel"]])
def test_a_student_of_the_service_hears_the_files_of_a_dataset_with_several_inputs_of_them(
    inputs: list[str], harness: EngineHarness
) -> None:
    """Also where one of these inputs has the rows that it was trained on, under another name."""
    path, network = zipped(harness.folder / "sounds.zip", sounds()), {"family": "convnet", "channels": [4]}
    for names in (["audio"], inputs):
        forms = {name: {"kind": "audio", **FORMS[name.replace("audio", "mel")]} for name in names}
        harness.file(path, format="sounds", inputs=forms, targets=TARGETS, splits={"column": "split"})
        if names == ["audio"]:
            trained = harness.run({"kind": "train", "target": "label", "model": network, "training": TRAINING}, "own")
            harness.teacher(trained, harness.folder / "own" / "attempt-1")
    found = harness.run(distill({**network, "inputs": ["mel"]}, training={"steps": 2, "batch_size": 20}))
    assert report_of(found).teachers[0].tasks["label"]["nll"] == pytest.approx(
        report_of(trained).student.tasks["label"]["nll"], rel=1e-5
    )


def test_a_student_of_samples_continues_at_a_step_as_if_it_had_not_stopped(
    harness: EngineHarness, tmp_path: Path
) -> None:
    with_sounds(harness)
    taught(harness, tmp_path)
    spec = distill(student("wav2vec2"), training={**TRAINING, "steps": 8})
    harness.run(spec, "whole")
    with pytest.raises(Stopped):
        harness.run(spec, "parted", stop=StopAtStep(10), checkpoint_seconds=0.0)
    harness.run(spec, "parted", attempt=2)
    assert harness.digest("whole") == harness.digest("parted", attempt=2)


def test_what_a_network_of_sounds_does_not_read_is_a_problem_of_the_dry_run(
    harness: EngineHarness, tmp_path: Path
) -> None:
    with_sounds(harness)
    taught(harness, tmp_path)
    for network, pointer in (
        ({**student("wav2vec2"), "inputs": ["mel"]}, "/student/input_shape"),
        ({**student("whisper"), "inputs": ["wave"]}, "/student/input_shape"),
        ({**student("wav2vec2"), "embedding": {"pooling": "mean"}}, "/student/embedding"),
        ({**student("wav2vec2"), "aware": True}, "/quantization"),  # its weight norm is computed, not stored
    ):
        rounded = {"quantization": {"aware": True}} if network.pop("aware", False) else {}
        found = harness.dry_run(distill(network, **rounded))
        assert [each.pointer for each in found.problems] == [pointer], found.problems


@pytest.mark.parametrize(
    ("name", "inputs", "way_out"),
    [
        ("wav2vec2", ["mel"], 'with the `features` `"samples"`'),
        ("whisper", ["wave"], 'with the `features` `{"mels": 64}` or `{"kind": "fbank"}`'),
        ("wav2vec2", ["mel", "wave"], 'select what it reads, such as "inputs": ["wave"]'),
        ("whisper", ["wave", "mel"], 'select what it reads, such as "inputs": ["mel"]'),
    ],
)
def test_features_of_another_kind_than_a_network_reads_are_refused_with_the_way_to_them(
    name: str, inputs: list[str], way_out: str, harness: EngineHarness
) -> None:
    path = zipped(harness.folder / "sounds.zip", sounds())
    forms = {each: {"kind": "audio", **FORMS[each]} for each in inputs}
    harness.file(path, format="sounds", inputs=forms, targets=TARGETS, splits={"column": "split"})
    network = {**student(name), "inputs": inputs[:1]}
    (problem,) = harness.dry_run({"kind": "train", "target": "label", "model": network}).problems
    assert problem.pointer == "/model/input_shape"
    assert problem.detail.startswith(f"huggingface's `{name}` needs rows of shape [channels, ")
    assert way_out in problem.detail


@pytest.mark.parametrize("network", [{"from_teacher": {"layers": [0]}}, {"model": TEACHER}], ids=["part", "whole"])
def test_a_student_of_a_models_network_says_which_rows_its_weights_are_for(
    network: Json, harness: EngineHarness, tmp_path: Path
) -> None:
    with_sounds(harness)
    taught(harness, tmp_path, "whisper")
    path = zipped(harness.folder / "sounds.zip", sounds())
    mel = {"kind": "audio", "seconds": 0.6, "features": {"mels": 40}}
    harness.file(path, format="sounds", inputs={"mel": mel}, targets=TARGETS, splits={"column": "split"})
    (problem,) = [each for each in harness.dry_run(distill(network)).problems if each.code == "pretrained_misfit"]
    field = next(iter(network))
    assert problem.pointer == f"/student/{field}"
    assert problem.detail.startswith("expected sounds of 32 mels x 40 frames, for which the weights of ")
    assert (
        "found sounds of 40 mels x 60 frames: give the dataset's input `features` of as many `mels`" in problem.detail
    )
    assert "`pretrained`" not in problem.detail
    assert f"`{field}`" in problem.detail, "the field that was posted"
