"""The views that the recipe `best` chooses: the same small shifts for teacher, student and control, of images alone."""

from typing import Any

import pytest

from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts, TargetFacts
from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.inputs.images import ImageForm
from app.contracts.resources.raw_rows import RawInput
from app.contracts.specs.jobs import ANY_SPEC, DistillJob, TrainJob
from app.contracts.specs.views import Views
from tests.contracts.resolving.test_resolve import DISTILL, DS, TEACHER, TRAIN, resolved, teacher, warned

BEST: dict[str, Any] = {"training": {"recipe": "best"}}
MODELS: dict[str, ModelFacts | None] = {TEACHER: teacher(shape=(1, 28, 28))}


def rows(*shape: int) -> DatasetFacts:
    splits: dict[Any, int] = {"train": 6400, "validation": 10, "test": 10}
    target = TargetFacts(kind="class", size=10, labelled=splits)
    inputs = {"x": InputFacts(shape=shape)}
    return DatasetFacts(rows=6420, splits=splits, inputs=inputs, targets={"digit": target})


def views(resolution: Resolution) -> Views | None:
    assert not resolution.problems
    assert isinstance(resolution.spec, TrainJob | DistillJob)
    return resolution.spec.training.views


@pytest.mark.parametrize(
    ("shape", "padding"), [((1, 24, 24), 1), ((1, 28, 28), 2), ((3, 32, 32), 2), ((3, 224, 112), 8)]
)
def test_images_are_shifted_by_a_fourteenth_and_never_mirrored(shape: tuple[int, ...], padding: int) -> None:
    found = views(resolved({**TRAIN, **BEST}, rows(*shape)))
    assert found is not None
    assert [each.model_dump() for each in found.transforms] == [{"kind": "crop", "padding": padding, "fill": "reflect"}]


def test_a_student_is_trained_with_the_views_of_its_teacher_and_told_what_they_cost() -> None:
    data = rows(1, 28, 28)
    of_teacher = views(resolved({**TRAIN, **BEST}, data))
    found = resolved({**DISTILL, **BEST}, data, MODELS)
    assert views(found) == of_teacher
    assert "60 times over the 6400 training rows" in found.chosen["/training/views"].because
    assert "3 times the steps" in found.chosen["/training/steps"].because
    assert not found.warnings


@pytest.mark.parametrize("shape", [(64,), (8, 8), (28, 28, 3), (16, 32, 32), (1, 8, 8), (3, 23, 32)])
def test_rows_that_may_not_be_images_stay_as_they_are(shape: tuple[int, ...]) -> None:
    assert views(resolved({**TRAIN, **BEST}, rows(*shape))) is None


def test_sounds_stay_as_they_are() -> None:
    """A shift along the height of their features would change the pitch."""
    data, form = rows(1, 64, 100), AudioForm(seconds=1.0)
    assert views(resolved({**TRAIN, **BEST}, data)) is not None
    raw = RawInput(dtype="float32", shape=form.row, arranged=form.row, rows="float32", audio=form)
    sounds = data.model_copy(update={"inputs": {"x": InputFacts(shape=form.row, raw=raw)}})
    assert views(resolved({**TRAIN, **BEST}, sounds)) is None


def test_pixels_are_no_frequencies() -> None:
    """A dataset of images refuses masks of features by name; sounds, and arrays of unknown meaning, take them."""
    masks = {"kind": "spec_augment", "frequency_width": 8, "time_width": 8}
    spec, data = {**TRAIN, "training": {"views": {"transforms": [masks]}}}, rows(3, 32, 32)
    assert not resolved(spec, data).problems
    form = ImageForm(size=(32, 32), channels=3)
    raw = RawInput(dtype="uint8", shape=(32, 32, 3), arranged=(3, 32, 32), rows="float32", image=form)
    images = data.model_copy(update={"inputs": {"x": InputFacts(shape=(3, 32, 32), raw=raw)}})
    (problem,) = resolved(spec, images).problems
    assert (problem.pointer, problem.code) == ("/training/views/transforms/0", "view_undefined")
    assert "found images: use `cutout`" in problem.detail


@pytest.mark.parametrize(
    "view", [{"kind": "rand_augment"}, {"kind": "color_jitter"}, {"kind": "flip", "direction": "vertical"}]
)
def test_sounds_are_not_turned_and_have_no_colour(view: dict[str, Any]) -> None:
    spec, form = {**TRAIN, "training": {"views": {"transforms": [view]}}}, AudioForm(seconds=1.0)
    raw = RawInput(dtype="float32", shape=form.row, arranged=form.row, rows="float32", audio=form)
    sounds = rows(1, 64, 100).model_copy(update={"inputs": {"x": InputFacts(shape=form.row, raw=raw)}})
    (problem,) = resolved(spec, sounds).problems
    assert (problem.pointer, problem.code) == ("/training/views/transforms/0", "view_undefined")
    assert "use `spec_augment`" in problem.detail


@pytest.mark.parametrize("recipe", ["fast", "default"])
def test_the_other_recipes_choose_no_views(recipe: str) -> None:
    assert views(resolved({**TRAIN, "training": {"recipe": recipe}}, rows(1, 28, 28))) is None


def test_outputs_of_teachers_in_the_dataset_are_of_rows_that_are_not_shifted() -> None:
    data = rows(1, 28, 28)
    told = TargetFacts(kind="teacher", size=10, labelled=data.splits, predicts=teacher().outputs["digit"].spec)
    data = data.model_copy(update={"targets": {**data.targets, "told": told}})
    found = resolved({**DISTILL, **BEST, "target": "digit", "teachers": [{"columns": "told"}]}, data)
    assert views(found) is None
    assert "columns_ignore_views" not in warned(found)


def test_views_that_are_given_win_and_an_empty_list_means_none() -> None:
    given: list[dict[str, Any]] = [{"transforms": [{"kind": "flip"}]}, {"transforms": []}]
    for each in given:
        found = resolved({**DISTILL, "training": {"recipe": "best", "views": each}}, rows(1, 28, 28), MODELS)
        kept = views(found)
        assert kept is not None
        assert len(kept.transforms) == len(each["transforms"])
        assert "/training/views" not in found.chosen
    assert isinstance(found.spec, DistillJob)
    assert found.spec.training.augmentations is None


def test_a_resolved_spec_of_before_is_not_given_views() -> None:
    data = rows(1, 28, 28)
    spec = resolved({**DISTILL, **BEST}, data, MODELS).spec
    assert isinstance(spec, DistillJob)
    before = spec.model_copy(update={"training": spec.training.model_copy(update={"views": None})})
    stored = ANY_SPEC.validate_json(before.model_dump_json(), extra="ignore")
    assert isinstance(stored, DistillJob)
    assert resolve(stored, {DS: data}, MODELS, threads=1).spec == before
