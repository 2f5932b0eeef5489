"""Students of sentence encoders: trained on texts without labels, loaded again by transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.contracts.resources.manifests import ModelManifest
from app.contracts.specs.jobs import DatasetRef
from app.contracts.wire.orders import ModelInput, TrainingOutcome
from app.models.bundle.bundled import BundledModel
from app.models.bundle.libraries import huggingface_files, loading_lines
from tests.engine.harness import DATASET, TEACHER, EngineHarness, StopAtStep, report_of
from tests.engine.jobs.texts.sentences import BERT, MANIFEST, TRAINING, sentences, written
from tests.engine.jobs.texts.teachers import LENGTH, WORDS, words_alone
from tests.engine.jobs.texts.test_students_of_texts import OTHER_MODEL, problems
from tests.engine.models.library.encoders import encoder, mean_vectors, zipped
from workers.engine.common.files import sha256_of
from workers.engine.common.stop import Stopped
from workers.engine.data.joining import read_datasets
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.jobs.inspection.huggingface.convert import convert_folder
from workers.engine.jobs.inspection.library_trunks import measured_manifest
from workers.engine.models.families.library.packages import package
from workers.engine.teachers.teacher import open_teacher

WIDTH = 16
POOLED = {"pooling": "mean", "normalize": True}
STUDENT: dict[str, Any] = {**BERT, "tokenizer": TEACHER, "embedding": POOLED}
SMALL: dict[str, Any] = {**STUDENT, "config": {**BERT["config"], "hidden_size": 8}}


def spec(student: dict[str, Any] = STUDENT, steps: int = 150, **distillation: Any) -> dict[str, Any]:
    """A distill job on texts without labels."""
    return {
        "kind": "distill",
        "teachers": [{"model": TEACHER}],
        "student": student,
        "training": {**TRAINING, "steps": steps},
        "distillation": distillation or {"soft_targets": {"method": "cosine"}},
        "control": False,
    }


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    """Texts without labels, and an encoder with a tokenizer of its own."""
    folder = tmp_path_factory.mktemp("encoders")
    made = EngineHarness(folder)
    rows = [{"text": row["text"]} for row in sentences()]
    made.file(written(folder, rows), **{**MANIFEST, "targets": {}})
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 1, "max_position_embeddings": LENGTH, "vocab_size": len(WORDS)}
    encoder("bert", **sizes).save_pretrained(folder / "model")
    words_alone().save_pretrained(folder / "model")
    archive, path = zipped(folder / "model", folder / "m.zip"), folder / "teacher.safetensors"
    outputs = {"meaning": {"kind": "vector"}}
    manifest = {"name": "encoder", "format": "huggingface", "outputs": outputs, "embedding": POOLED}
    found = convert_folder(archive, path, ModelManifest.model_validate(manifest))
    assert found.tokenizer is not None
    made.keep_tokenizer(found.tokenizer)
    facts = inspect_family_model(path, measured_manifest(found.manifest))
    made.models[TEACHER] = ModelInput(
        id=TEACHER, manifest=found.manifest, facts=facts, path=str(path), sha256=sha256_of(path)
    )
    return made


@pytest.fixture(scope="module")
def trained(harness: EngineHarness) -> TrainingOutcome:
    return harness.run({**spec(), "exports": ["onnx"]}, job="trained")


def bundled(outcome: TrainingOutcome) -> BundledModel:
    return BundledModel("mdl_1", "student", None, None, {}, outcome.student, {}, None)


def test_a_student_learns_the_vectors_of_an_encoder_without_any_label(
    harness: EngineHarness, trained: TrainingOutcome
) -> None:
    rmse, spread = report_of(trained).fidelity["meaning"].rmse, vectors(harness, TEACHER).std(0).square().mean().sqrt()
    assert rmse is not None
    assert rmse < 0.4 * float(spread), "much closer than the same vector for all texts"
    assert trained.student.outputs["meaning"].size == WIDTH
    assert trained.student.export_refused is None, "its graph gives the engine's vectors"


def test_the_folder_of_a_student_gives_its_vectors_by_transformers(
    harness: EngineHarness, trained: TrainingOutcome, tmp_path: Path
) -> None:
    files = huggingface_files(bundled(trained))
    assert files is not None
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    stored = harness.outputs("trained") / "student.safetensors"
    (tmp_path / "model.safetensors").write_bytes(stored.read_bytes())
    transformers = package("transformers")
    network = transformers.AutoModel.from_pretrained(tmp_path).eval()
    (tokens,) = (each.tokens for each in trained.student.inputs.values())
    assert tokens is not None
    (tmp_path / "tokenizer.json").write_bytes(Path(harness.tokenizers[tokens.tokenizer]).read_bytes())
    words = transformers.AutoTokenizer.from_pretrained(tmp_path)
    made = words([row["text"] for row in sentences()], padding=True, truncation=True, return_tensors="pt")
    theirs = mean_vectors(network, made["input_ids"], made["attention_mask"].bool(), unit=True)
    harness.teacher(trained, harness.folder / "trained" / "attempt-1", model=OTHER_MODEL)
    ours = vectors(harness, OTHER_MODEL)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.norm(dim=1), torch.ones(len(ours)))
    assert any("AutoModel" in line for line in loading_lines(bundled(trained)))
    again = ModelManifest.model_validate({"name": "m", "format": "huggingface", "outputs": {"y": {"kind": "vector"}}})
    read = convert_folder(zipped(tmp_path, tmp_path.parent / "again.zip"), tmp_path / "again.safetensors", again)
    assert read.manifest.architecture is not None
    assert read.manifest.architecture.model_dump()["embedding"] == POOLED, "the folder can be uploaded again"


def vectors(harness: EngineHarness, model: str) -> Tensor:
    """The vectors of a model for all rows."""
    dataset = read_datasets(harness.order(spec(), job="read"), (DatasetRef(dataset=DATASET),))
    return open_teacher(harness.models[model], torch.device("cpu"), 1, dataset.layout).predict(dataset.raw[:])[
        "meaning"
    ]


def test_relations_alone_teach_an_encoder_of_the_same_width(harness: EngineHarness) -> None:
    term = {"method": "rkd", "teacher_layer": "penultimate", "student_layer": "penultimate"}
    outcome = harness.run(spec(features=term), job="relations")
    points = [
        point.value
        for event in harness.log.events
        for point in getattr(event, "points", ())
        if point.series == "train/meaning/rkd"
    ]
    assert points[-1] < 0.5 * points[0]
    assert outcome.student.outputs["meaning"].size == WIDTH


def test_a_narrower_encoder_has_a_linear_layer_to_the_width_of_its_teacher(harness: EngineHarness) -> None:
    outcome = harness.run(spec(SMALL), job="small")
    assert (report_of(outcome).fidelity["meaning"].rmse or 1.0) < 0.05
    assert huggingface_files(bundled(outcome)) is None, "transformers knows no layer behind the pooled one"
    term = {"method": "rkd", "teacher_layer": "penultimate", "student_layer": "penultimate"}
    assert problems(harness, spec(SMALL, features=term)) == {"/distillation/soft_targets": "embedding_undefined"}


def test_an_interrupted_job_gives_the_same_encoder(harness: EngineHarness) -> None:
    short = spec(SMALL, steps=12)
    harness.run(short, job="whole")
    changes: dict[str, Any] = {"checkpoint_seconds": 0.0}
    with pytest.raises(Stopped):
        harness.run(short, job="parts", stop=StopAtStep(6), **changes)
    harness.run(short, job="parts", attempt=2, **changes)
    assert harness.digest("whole") == harness.digest("parts", attempt=2)


def test_students_cut_from_an_encoder_are_encoders(harness: EngineHarness) -> None:
    outcome = harness.run({**spec(steps=4), "student": {"model": TEACHER}}, job="started")
    assert outcome.student.architecture is not None
    assert outcome.student.architecture.model_dump()["embedding"] == POOLED


def test_encoders_with_labels_are_refused(harness: EngineHarness, tmp_path: Path) -> None:
    labelled = EngineHarness(tmp_path)
    labelled.file(written(tmp_path, sentences()), **MANIFEST)
    labelled.models, labelled.tokenizers = harness.models, harness.tokenizers
    train = {"kind": "train", "model": {**BERT, "embedding": POOLED}, "training": TRAINING}
    assert problems(labelled, train)["/model/embedding"] == "embedding_undefined"
    rounded = {**spec(), "quantization": {"aware": True}}
    assert problems(harness, rounded)["/quantization"] == "embedding_undefined"
