"""The dry run compares the rows of a dataset with the inputs of teachers and students side by side, on every path."""

from typing import Any

import pytest

from app.contracts.resources.facts import InputFacts, ModelFacts
from app.contracts.resources.manifests import InputTransform
from app.contracts.resources.statistics import DataWarning
from tests.contracts.resolving.test_resolve import (
    DISTILL,
    DS,
    TEACHER,
    TRAIN,
    codes,
    dataset,
    resolved,
    teacher,
    warned,
)

CHANNELS = InputTransform(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
CONVNET: dict[str, Any] = {"family": "convnet", "channels": [4]}
MULTITASK: dict[str, Any] = {
    "kind": "multitask",
    "tasks": [{"name": "digit", "teachers": [{"model": TEACHER}]}],
    "student": {"family": "mlp", "hidden": [4]},
}


def rows(*shape: int, **more: Any) -> Any:
    return dataset().model_copy(update={"inputs": {"x": InputFacts(shape=shape, **more)}})


def images() -> ModelFacts:
    return teacher(shape=(3, 8, 8)).model_copy(update={"inputs": {"x": CHANNELS}})


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        (DISTILL, "/teachers/0"),
        (MULTITASK, "/tasks/0/teachers/0"),
        ({"kind": "preflight", "job": {**DISTILL, "dataset": DS}, "dataset": None}, "/job/teachers/0"),
    ],
    ids=["distill", "multitask", "preflight"],
)
def test_a_teacher_of_another_layout_is_refused_with_both_shapes_and_the_mend(
    spec: dict[str, Any], pointer: str
) -> None:
    spec = {name: value for name, value in spec.items() if value is not None}
    found = _resolved(spec, rows(8, 8, 3), {TEACHER: images()})
    assert codes(found) == {(pointer, "layout_mismatch")}
    detail = found.problems[0].detail
    assert "[3, 8, 8]" in detail
    assert "[8, 8, 3]" in detail
    assert '"layout": "channels_last"' in detail


def _resolved(spec: dict[str, Any], data: Any, models: dict[str, ModelFacts | None]) -> Any:
    if spec["kind"] != "preflight":
        return resolved(spec, data, models)
    import json

    from app.contracts.resolving.resolve import resolve
    from app.contracts.specs.jobs import JOB_SPEC

    return resolve(JOB_SPEC.validate_json(json.dumps(spec)), {DS: data}, models, threads=2)


@pytest.mark.parametrize("shape", [(3, 8, 8), (192,)])
def test_rows_of_the_teachers_shape_and_flat_ones_are_taken(shape: tuple[int, ...]) -> None:
    assert codes(resolved(DISTILL, rows(*shape), {TEACHER: images()})) == set()


def test_a_teacher_with_channels_last_takes_rows_with_channels_first() -> None:
    last = teacher(shape=(8, 8, 3)).model_copy(update={"inputs": {"x": CHANNELS}})
    (problem,) = resolved(DISTILL, rows(3, 8, 8), {TEACHER: last}).problems
    assert (problem.code, "the teacher's manifest" in problem.detail) == ("layout_mismatch", True)
    moved = CHANNELS.model_copy(update={"layout": "channels_last"})
    last = last.model_copy(update={"inputs": {"x": moved}})
    assert codes(resolved(DISTILL, rows(3, 8, 8), {TEACHER: last})) == set()
    assert codes(resolved(DISTILL, rows(8, 8, 3), {TEACHER: last})) == {("/teachers/0", "layout_mismatch")}


def test_statistics_that_do_not_fit_the_shape_of_the_rows_are_refused() -> None:
    open_shape = images().model_copy(update={"input_shape": None})
    found = resolved(DISTILL, rows(192), {TEACHER: open_shape})
    assert codes(found) == {("/teachers/0", "shape_mismatch")}
    assert "`inputs.x`: `mean` has 3 numbers, expected 1 or 192" in found.problems[0].detail


def test_a_student_of_another_layout_is_refused_with_the_mend() -> None:
    found = resolved({**TRAIN, "model": {**CONVNET, "input_shape": [3, 8, 8]}}, rows(8, 8, 3))
    assert codes(found) == {("/model/input_shape", "layout_mismatch")}
    assert '"layout": "channels_last"' in found.problems[0].detail


def test_statistics_of_channels_must_be_sayable_in_the_students_shape() -> None:
    flat = {**TRAIN["model"], "input_shape": [3, 65_536]}
    assert codes(resolved({**TRAIN, "model": flat}, rows(3, 65_536, standardize=True))) == set()
    ones = {**TRAIN["model"], "input_shape": [1, 3, 65_536]}
    found = resolved({**TRAIN, "model": ones}, rows(3, 65_536, standardize=True))
    assert codes(found) == {("/model/input_shape", "shape_mismatch")}
    assert "leave `input_shape` out" in found.problems[0].detail


def test_what_a_dataset_warns_of_stands_in_the_dry_run() -> None:
    warning = DataWarning(code="large_offset", message="far from zero")
    found = resolved(TRAIN, dataset().model_copy(update={"warnings": (warning,)}))
    assert {"code": "large_offset", "message": "far from zero"} in found.warnings


def test_a_network_with_channels_warns_of_rows_that_seem_to_have_them_last() -> None:
    assert "channels_last_suspected" in warned(resolved({**TRAIN, "model": CONVNET}, rows(8, 8, 3)))
    assert "channels_last_suspected" in warned(resolved(TRAIN, rows(8, 8, 3, standardize=True)))
    assert "channels_last_suspected" not in warned(resolved(TRAIN, rows(8, 8, 3)))
    assert "channels_last_suspected" not in warned(resolved({**TRAIN, "model": CONVNET}, rows(3, 8, 8)))
    stated = rows(8, 8, 3, layout="channels_first")
    assert "channels_last_suspected" not in warned(resolved({**TRAIN, "model": CONVNET}, stated))


SUSPECTED = [(16, 16, 2), (16, 16, 8), (4, 4, 3), (28, 28, 1), (480, 640, 3), (30, 12), (128, 2), (28, 28)]
ORDINARY = [(3, 32, 32), (1, 28, 28), (64, 7, 7), (4, 8, 8), (1, 1, 28), (32, 4, 4), (12, 300), (1, 128), (20, 18)]
RESNET: dict[str, Any] = {"family": "resnet", "depth": 8}
READERS: dict[str, dict[str, Any]] = {
    "convnet": {"model": CONVNET},
    "resnet": {"model": RESNET},
    "standardize": {},
    "a view": {"training": {"views": {"transforms": [{"kind": "flip"}]}}},
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("shape", [*SUSPECTED, *ORDINARY], ids=str)
def test_whoever_takes_the_first_side_for_channels_tells_of_another_reading(
    shape: tuple[int, ...], reader: str
) -> None:
    if len(shape) == 2 and reader in ("resnet", "a view"):
        return  # refused: they are for images
    spec = {**TRAIN, **READERS[reader]}
    standardize = reader == "standardize"
    told = warned(resolved(spec, rows(*shape, standardize=standardize)))
    assert ("channels_last_suspected" in told) == (shape in SUSPECTED)
    for layout in ("channels_first", "channels_last"):
        stated = warned(resolved(spec, rows(*shape, standardize=standardize, layout=layout)))
        assert "channels_last_suspected" not in stated


def test_square_rows_are_advised_to_be_images_of_one_channel() -> None:
    found = resolved({**TRAIN, "model": CONVNET}, rows(28, 28))
    (message,) = (each["message"] for each in found.warnings if each["code"] == "channels_last_suspected")
    assert "read as 28 channels of 28 (by a convnet)" in message
    assert '"shape": [1, 28, 28]' in message
    taken = resolved({**TRAIN, "model": CONVNET}, rows(1, 28, 28))
    assert "channels_last_suspected" not in warned(taken)


def test_statistics_of_square_rows_are_those_of_the_dataset_not_of_the_network() -> None:
    """Trap: `input_shape` [1, 28, 28] leaves a mean for each row of the image."""
    spec = {**TRAIN, "model": {**CONVNET, "input_shape": [1, 28, 28]}}
    assert "channels_last_suspected" in warned(resolved(spec, rows(28, 28, standardize=True)))
    assert "channels_last_suspected" not in warned(resolved(spec, rows(28, 28)))


def test_tokens_are_not_taken_for_channels() -> None:
    spec = {**TRAIN, "model": {"family": "transformer", "width": 8}}
    assert "channels_last_suspected" not in warned(resolved(spec, rows(28, 28)))


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((28, 28, 1), '"layout": "channels_last"'),
        ((128, 1), '"layout": "channels_last"'),
        ((3, 1, 128), "give `shape` [3, 128]"),
    ],
)
def test_rows_that_a_convnet_halves_to_nothing_have_a_way_out(shape: tuple[int, ...], advice: str) -> None:
    found = resolved({**TRAIN, "model": CONVNET}, rows(*shape))
    (problem,) = found.problems
    assert problem.code == "too_many_stages"
    assert advice in problem.detail


def test_flat_rows_for_a_teacher_with_its_channels_last_are_refused_as_their_order_is_unknown() -> None:
    last = images().model_copy(
        update={"input_shape": (8, 8, 3), "inputs": {"x": InputTransform(layout="channels_last")}}
    )
    found = _resolved(DISTILL, rows(192), {TEACHER: last})
    assert codes(found) == {("/teachers/0", "layout_mismatch")}
    assert '"shape": [8, 8, 3], "layout": "channels_last"' in found.problems[0].detail
    assert codes(_resolved(DISTILL, rows(3, 8, 8), {TEACHER: last})) == set()


@pytest.mark.parametrize(("shape", "teachers", "told"), [(192, (3, 8, 8), True), (64, (1, 8, 8), False)])
def test_flat_rows_read_as_images_of_several_channels_are_told(
    shape: int, teachers: tuple[int, ...], told: bool
) -> None:
    model = images().model_copy(update={"input_shape": teachers, "inputs": {}})
    found = _resolved(DISTILL, rows(shape), {TEACHER: model})
    assert codes(found) == set()
    assert ("order_assumed" in warned(found)) == told


@pytest.mark.parametrize(("shape", "told"), [((3, 8, 8), True), ((1, 8, 8), False), ((8, 24), False), ((192,), False)])
def test_images_of_several_channels_read_by_a_flat_teacher_are_told(shape: tuple[int, ...], told: bool) -> None:
    size = shape[0] * shape[1] * shape[2] if len(shape) == 3 else 192
    model = images().model_copy(update={"input_shape": (size,), "inputs": {}})
    found = _resolved(DISTILL, rows(*shape), {TEACHER: model})
    assert codes(found) == set()
    assert ("order_assumed" in warned(found)) == told


def test_a_student_that_reads_flat_rows_as_images_is_told() -> None:
    spec = {**TRAIN, "model": {**CONVNET, "input_shape": [3, 8, 8]}}
    assert "order_assumed" in warned(resolved(spec, rows(192)))


@pytest.mark.parametrize("layout", ["channels_last", None])
def test_grey_rows_whose_width_was_moved_to_the_front_are_refused_for_images(layout: str | None) -> None:
    """Trap: `channels_last` on rows [height, width] transposes them, and sides of 1 are not compared."""
    model = images().model_copy(update={"input_shape": (1, 8, 6), "inputs": {}})
    shape = (6, 8) if layout else (8, 6)
    found = _resolved(DISTILL, rows(*shape, layout=layout), {TEACHER: model})
    square = model.model_copy(update={"input_shape": (1, 6, 8)})
    moved = _resolved(DISTILL, rows(6, 8, layout=layout), {TEACHER: square})
    assert codes(found) == ({("/teachers/0", "layout_mismatch")} if layout else set())
    assert codes(moved) == ({("/teachers/0", "layout_mismatch")} if layout else set())
    if layout:
        assert '"shape": [8, 6, 1]' in moved.problems[0].detail
    student = {**TRAIN, "model": {**CONVNET, "input_shape": [1, 6, 8]}}
    assert ("layout_mismatch" in {code for _, code in codes(resolved(student, rows(6, 8, layout=layout)))}) == bool(
        layout
    )


def test_flat_grey_rows_for_a_teacher_with_its_channels_last_are_read_without_a_word() -> None:
    for transform in (InputTransform(), InputTransform(layout="channels_last")):
        model = images().model_copy(update={"input_shape": (8, 8, 1), "inputs": {"x": transform}})
        found = _resolved(DISTILL, rows(64), {TEACHER: model})
        assert codes(found) == set()
        assert "order_assumed" not in warned(found)
