"""A teacher reads the files of a dataset by its own image processor, whatever the dataset makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resolving.resolve import Resolution
from app.contracts.resources.manifests import MapOutput
from app.contracts.specs.jobs import DatasetRef
from app.contracts.wire.orders import TrainingOutcome
from tests.engine.data.formats.images.archives import zipped
from tests.engine.harness import DATASET, OTHER, SECOND, TEACHER, EngineHarness, report_of
from tests.engine.jobs.datasets.forms.photos import (
    CLASSES,
    DISTILL,
    SIDE,
    as_teacher,
    folder_of,
    outside,
    photos,
    taught,
    with_photos,
)
from tests.engine.jobs.preflight.test_preflight import preflight
from tests.engine.models.library.folders import CONFIGS
from workers.engine.data.formats.files.encoded import EncodedRows, RawRows
from workers.engine.data.joining import read_datasets

Json = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> EngineHarness:
    return taught(EngineHarness(tmp_path_factory.mktemp("photos")), folder)


@pytest.fixture(scope="module")
def distilled(harness: EngineHarness) -> TrainingOutcome:
    return harness.run(DISTILL, job="distilled")


def test_the_metrics_of_a_teacher_are_those_of_transformers_on_the_files(
    distilled: TrainingOutcome, folder: Path
) -> None:
    files = {name: content for name, content in photos().items() if name.startswith("test/")}
    labels = torch.tensor([("cat", "dog", "owl").index(name.split("/")[1]) for name in files])
    logits = outside(folder, files)
    report = report_of(distilled)
    assert any("reads files by its own `form`" in reason for reason in report.not_measured.values()), "robustness"
    found = report.teachers[0].tasks["label"]
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert found["nll"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), abs=1e-5)


def logits(harness: EngineHarness, job: str) -> Tensor:
    """What the teacher said of the test rows, as the predictions of a job have it."""
    with np.load(harness.outputs(job) / "predictions-test.npz") as file:
        return torch.from_numpy(file["test/label/teacher"])


def test_what_a_teacher_says_is_stored_once_whatever_rows_the_datasets_make(
    harness: EngineHarness, distilled: TrainingOutcome, tmp_path: Path
) -> None:
    other = EngineHarness(tmp_path)
    with_photos(other, photos(), size=[24, 40], fit="pad", standardize=True)
    other.models = harness.models
    found = other.run(DISTILL, cache_dir=str(harness.folder / "cache"))
    (first,), (second,) = report_of(distilled).targets, report_of(found).targets
    assert (first.store, second.store, second.passes) == ("miss", "hit", 0)
    assert first.key == second.key
    torch.testing.assert_close(logits(other, "job"), logits(harness, "distilled"), rtol=0, atol=0)


def formed(harness: EngineHarness, spec: Json) -> tuple[dict[str, tuple[RawRows, ...]], dict[str, Tensor]]:
    """(rows by forms of teachers, rows of the inputs) that a job reads."""
    dataset = read_datasets(harness.order(spec), (DatasetRef(dataset=DATASET),))
    return dict(dataset.formed), dict(dataset.inputs)


def test_teachers_of_one_form_read_the_files_once_and_those_of_the_datasets_form_its_rows(
    harness: EngineHarness, folder: Path, tmp_path: Path
) -> None:
    as_teacher(harness, folder, SECOND)
    both = {**DISTILL, "teachers": [{"model": TEACHER}, {"model": SECOND}]}
    rows, inputs = formed(harness, both)
    assert [tuple(each.shape) for (each,) in rows.values()] == [(60, 3, SIDE, SIDE)]
    assert {name: tuple(each.shape) for name, each in inputs.items()} == {"photo": (60, 3, 32, 32)}
    alike = EngineHarness(tmp_path)
    facts = harness.models[TEACHER].facts
    assert facts is not None
    form = facts.inputs["image"].form
    assert form is not None
    with_photos(alike, photos(), **form.model_dump(mode="json"))
    alike.models = harness.models
    ((own,),), (whole,) = formed(alike, DISTILL)[0].values(), formed(alike, DISTILL)[1].values()
    assert isinstance(own, Tensor)
    torch.testing.assert_close(own, whole)
    views = {"transforms": [{"kind": "flip"}]}
    augmented = alike.dry_run({**DISTILL, "training": {"steps": 3, "views": views}})
    assert (augmented.problems, codes(augmented)) == ((), []), "rows of the same form are augmented for both"


def test_a_student_of_the_service_reads_files_by_the_form_that_it_was_trained_on(tmp_path: Path) -> None:
    network, training = {"family": "convnet", "channels": [4]}, {"steps": 20, "batch_size": 16}
    made = EngineHarness(tmp_path / "first")
    made.folder.mkdir(exist_ok=True)
    with_photos(made, photos(), size=[24, 40], fit="stretch", standardize=True)
    trained = made.run({"kind": "train", "target": "label", "model": network, "training": training}, job="teacher")
    other = EngineHarness(tmp_path / "second")
    other.folder.mkdir(exist_ok=True)
    with_photos(other, photos())
    other.teacher(trained, made.folder / "teacher" / "attempt-1")
    found, expected = report_of(other.run(DISTILL)).teachers[0], report_of(trained).student
    assert found.tasks["label"]["nll"] == pytest.approx(expected.tasks["label"]["nll"], rel=1e-6)
    views = {**DISTILL, "training": {"steps": 3, "views": {"transforms": [{"kind": "flip"}]}}}
    assert [(each.code, each.pointer) for each in other.dry_run(views).problems] == [("shape_mismatch", "/teachers/0")]
    made.teacher(trained, made.folder / "teacher" / "attempt-1")
    assert formed(made, DISTILL)[0] == {}, "the rows of its own dataset are those that it was trained on"
    assert made.dry_run(views).problems == ()
    rows = np.random.default_rng(0).integers(0, 256, (60, 3, 24, 40), np.uint8)
    made.dataset(
        {"x": rows, "label": np.arange(60) % 3}, targets={"label": {"kind": "class", "classes": list(CLASSES)}}
    )
    assert made.dry_run(DISTILL).problems == (), "arrays of its shape are pixels as well"


def test_several_datasets_and_tasks_are_read_by_the_teachers_form(
    harness: EngineHarness, folder: Path, tmp_path: Path
) -> None:
    made, files = EngineHarness(tmp_path), photos()
    parts = [dict(list(files.items())[first::2]) for first in (0, 1)]
    with_photos(made, parts[0])
    assert made.data is not None
    second = made.data.manifest.model_dump(mode="json", exclude_none=True)
    second["inputs"] = {"picture": {**second["inputs"]["photo"], "fit": "pad"}}
    made.others[OTHER] = made.inspected(OTHER, zipped(tmp_path / "more.zip", parts[1]), second)
    made.models = harness.models
    task = {"name": "label", "teachers": [{"model": TEACHER}], "distillation": {"allow_chance_teacher": True}}
    tasks = [task, {**task, "name": "again", "target": "label"}]
    spec = {"kind": "multitask", "datasets": [{"dataset": DATASET}, {"dataset": OTHER}], "tasks": tasks}
    made.run({**spec, "student": DISTILL["student"], "training": DISTILL["training"], "baselines": False})
    tests = {name: content for part in parts for name, content in part.items() if name.startswith("test/")}
    expected = outside(folder, tests)
    torch.testing.assert_close(logits(made, "job"), expected, rtol=0, atol=1e-4)


def test_rows_of_a_form_may_stay_encoded(
    harness: EngineHarness, distilled: TrainingOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.engine.data.formats.images.pixels.DECODED_BYTES", 0)
    monkeypatch.setattr("workers.engine.data.formats.images.pixels.TIMES", 0)
    ((rows,),) = formed(harness, DISTILL)[0].values()
    assert isinstance(rows, EncodedRows)
    found = harness.run(DISTILL, job="encoded", cache_dir=str(harness.folder / "other cache"))
    assert report_of(found).targets[0].store == "miss"
    torch.testing.assert_close(logits(harness, "encoded"), logits(harness, "distilled"), rtol=0, atol=0)
    assert harness.digest("encoded") == harness.digest("distilled")


def test_a_preflight_reads_as_the_job_does(harness: EngineHarness) -> None:
    assert preflight(harness, DISTILL).would_fail == ()


def codes(found: Resolution) -> list[str]:
    return [each["code"] for each in found.warnings if each["code"] in ("form_not_used", "views_not_chosen")]


FLIPPED: Json = {"transforms": [{"kind": "flip"}]}


def test_augmented_rows_are_read_resized_with_a_warning_or_refused_by_name(
    harness: EngineHarness, folder: Path, tmp_path: Path
) -> None:
    spec = {**DISTILL, "training": {"steps": 3, "batch_size": 16, "views": FLIPPED}}
    assert codes(harness.dry_run(spec)) == ["form_not_used"]
    assert formed(harness, spec)[0] == {}
    harness.run(spec, job="flipped")
    made = EngineHarness(tmp_path)
    with_photos(made, photos(10))
    as_teacher(made, folder, image={"form": {"size": [SIDE, SIDE]}})
    (problem,) = made.dry_run(spec).problems
    assert (problem.pointer, problem.code) == ("/training/views", "view_undefined")
    assert "leave `views` out" in problem.detail


def test_shifts_are_not_chosen_where_a_teacher_reads_files(harness: EngineHarness) -> None:
    found = harness.dry_run({**DISTILL, "training": {"recipe": "best"}})
    assert codes(found) == ["views_not_chosen"]
    assert "/training/views" not in found.chosen
    train = {"kind": "train", "target": "label", "model": DISTILL["student"], "training": {"recipe": "best"}}
    assert "/training/views" in harness.dry_run(train).chosen


def test_rows_of_arrays_are_resized_or_refused(harness: EngineHarness, folder: Path, tmp_path: Path) -> None:
    made = EngineHarness(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    arrays = {"pixels": pixels, "label": np.array(CLASSES)[np.arange(40) % 3]}
    targets = {"label": {"kind": "class", "classes": list(CLASSES)}}
    made.dataset(arrays, inputs={"pixels": {"kind": "array", "layout": "channels_last"}}, targets=targets)
    made.models = dict(harness.models)
    assert codes(made.dry_run(DISTILL)) == ["form_not_used"]
    as_teacher(made, folder, image={"form": {"size": [SIDE, SIDE]}})
    (problem,) = made.dry_run(DISTILL).problems
    assert (problem.pointer, problem.code) == ("/teachers/0", "input_mismatch")
    expected = "upload a dataset of image files, or call an input of them `image`, or give its input `resize`"
    assert problem.detail.endswith(expected)


def test_scores_of_pixels_are_of_the_same_part_of_an_image(harness: EngineHarness) -> None:
    teacher = harness.models[TEACHER]
    assert teacher.facts is not None
    output = teacher.facts.outputs["label"]
    of_pixels = {"label": output.model_copy(update={"spec": MapOutput(kind="map", shape=(SIDE, SIDE))})}
    facts = teacher.facts.model_copy(update={"outputs": of_pixels})
    harness.models[TEACHER] = teacher.model_copy(update={"facts": facts})
    try:
        details = [each.detail for each in harness.dry_run(DISTILL).problems]
    finally:
        harness.models[TEACHER] = teacher
    assert any("cuts out another part of an image" in each for each in details)


def test_a_form_must_make_the_rows_of_its_model(harness: EngineHarness, folder: Path, tmp_path: Path) -> None:
    made = EngineHarness(tmp_path)
    expected = r"makes rows of shape \[3, 32, 32\], and the model takes \[3, 48, 48\]"
    with pytest.raises(UserError, match=expected) as caught:
        as_teacher(made, folder, image={"form": {"size": [32, 32]}})
    assert caught.value.code == "shape_mismatch"


def test_terms_on_layers_with_places_say_that_the_parts_of_an_image_differ(harness: EngineHarness) -> None:
    facts = harness.models[TEACHER].facts
    assert facts is not None
    tokens = next(layer.name for layer in facts.layers if layer.shape is not None and len(layer.shape) == 2)
    pair = {"method": "fitnets", "teacher_layer": tokens, "student_layer": "penultimate"}

    def warned(**changes: Any) -> list[str]:
        found = harness.dry_run({**DISTILL, "distillation": {"features": [{**pair, **changes}]}})
        return [each["code"] for each in found.warnings if each["code"] == "places_differ"]

    assert (warned(), warned(pool="mean")) == (["places_differ"], [])


def test_a_student_that_starts_from_a_model_is_told_of_its_form(harness: EngineHarness, tmp_path: Path) -> None:
    made = EngineHarness(tmp_path)
    with_photos(made, photos(10), size=[SIDE, SIDE])
    made.models = harness.models
    student = {"family": "huggingface", "name": "vit", "config": CONFIGS["vit"], "pretrained": TEACHER}
    found = made.dry_run({"kind": "train", "target": "label", "model": student})
    assert found.problems == ()
    (message,) = (each["message"] for each in found.warnings if each["code"] == "pretrained_inputs")
    assert 'made of files by {"size":[48,48],"channels":3,"fit":"crop","filter":"bicubic","crop":' in message
