"""The numbers of CPU threads that the recipe chooses: by the operations of a batch of the student, and of a teacher."""

from typing import Any

import pytest

from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts, TargetFacts
from app.contracts.specs.architectures import Resnet
from app.contracts.specs.jobs import JOB_SPEC, DistillJob, TrainJob
from tests.contracts.resolving.test_resolve import DISTILL, DS, TEACHER, TRAIN, teacher
from tests.engine.plain_training import plain_training

CORES = 8
SMALL, LARGE = {"family": "mlp", "hidden": [32]}, {"family": "mlp", "hidden": [1024, 1024]}
RESNET: dict[str, Any] = {"family": "resnet", "depth": 20}


def found(spec: dict[str, Any], model: ModelFacts | None = None, cores: int = CORES) -> Resolution:
    splits: dict[Any, int] = {"train": 5000, "validation": 10, "test": 10}
    target = TargetFacts(kind="class", size=10, labelled=splits)
    data = DatasetFacts(
        rows=5020, splits=splits, inputs={"x": InputFacts(shape=(1, 28, 28))}, targets={"digit": target}
    )
    resolution = resolve(
        JOB_SPEC.validate_python({"dataset": DS, **spec}, strict=False),
        {DS: data},
        {TEACHER: model or teacher(shape=(1, 28, 28))},
        threads=cores,
    )
    assert not resolution.problems
    return resolution


def threads(resolution: Resolution) -> int | None:
    assert isinstance(resolution.spec, TrainJob | DistillJob)
    return resolution.spec.training.threads


def teacher_threads(resolution: Resolution) -> int | None:
    assert isinstance(resolution.spec, DistillJob)
    return resolution.spec.training.teacher_threads


@pytest.mark.parametrize(
    ("model", "cores", "expected"), [(SMALL, 8, 1), (LARGE, 8, 3), (LARGE, 2, 2), (LARGE, 1, 1), (RESNET, 8, 8)]
)
def test_small_networks_get_one_thread_and_large_ones_no_more_than_there_are_cores(
    model: dict[str, Any], cores: int, expected: int
) -> None:
    resolution = found({**TRAIN, "model": model}, cores=cores)
    assert threads(resolution) == expected
    assert resolution.chosen["/training/threads"].value == expected


def test_a_larger_batch_gets_more_threads() -> None:
    wide = {"training": plain_training(batch_size=8192)}
    assert threads(found({**TRAIN, "model": SMALL, **wide})) == 5


def test_a_large_teacher_of_a_small_student_has_threads_of_its_own() -> None:
    """It is run once: its threads would make every step of the student slower."""
    resolution = found({**DISTILL, "student": SMALL}, _large())
    assert threads(resolution) == 1
    assert teacher_threads(resolution) == CORES
    assert "of the teacher" in resolution.chosen["/training/teacher_threads"].because
    assert teacher_threads(found({**DISTILL, "student": SMALL})) is None
    assert teacher_threads(found({**DISTILL, "student": LARGE})) is None, "a small teacher runs on the student's"
    given = {"training": {"teacher_threads": 3}}
    assert teacher_threads(found({**DISTILL, "student": SMALL, **given}, _large())) == 3


def test_with_views_a_teacher_and_its_student_run_in_turn_on_as_many_threads() -> None:
    flipped = {"training": {"views": {"transforms": [{"kind": "flip"}]}}}
    resolution = found({**DISTILL, "student": SMALL, **flipped}, _large())
    assert threads(resolution) == CORES
    assert teacher_threads(resolution) is None
    assert "of the teacher" in resolution.chosen["/training/threads"].because


def _large() -> ModelFacts:
    network = Resnet(family="resnet", depth=20, input_shape=(1, 28, 28), outputs={"digit": 10})
    return teacher(shape=(1, 28, 28)).model_copy(update={"architecture": network})


def test_a_number_of_threads_that_is_given_wins() -> None:
    resolution = found({**TRAIN, "model": SMALL, "training": {"threads": 5}})
    assert threads(resolution) == 5
    assert "/training/threads" not in resolution.chosen
