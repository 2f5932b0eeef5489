"""Classes of a teacher that are not the dataset's: mapped by the spec or matched by name, else refused by name."""

from typing import Any

import pytest

from app.contracts.resources.facts import DatasetFacts, TargetFacts
from app.contracts.specs.jobs import DistillJob, MultitaskJob
from tests.contracts.resolving.test_resolve import DISTILL, SPLITS, TEACHER, codes, dataset, resolved, teacher, warned

NAMES = ("cat", "dog", "owl")
THEIRS = ("ant", "owl", "bee", "cat", "dog")


def animals(classes: tuple[str, ...] | None = NAMES) -> DatasetFacts:
    return dataset(digit=TargetFacts(kind="class", size=3, classes=classes, labelled=SPLITS))


def mapped(classes: Any = None, size: int = 5, theirs: tuple[str, ...] | None = None, **job: Any) -> Any:
    ref = {"model": TEACHER} | ({"classes": classes} if classes is not None else {})
    data = job.pop("data", animals())
    return resolved(DISTILL | {"teachers": [ref]} | job, data, {TEACHER: teacher(size=size, classes=theirs)})


@pytest.mark.parametrize(
    "classes",
    [
        [3, 4, 1],
        {"owl": 1, "cat": 3, "dog": 4},
        {"0": 3, "dog": 4, "2": 1},
        {"cat": "cat", "dog": "dog", "owl": "owl"},
        ["cat", 4, "owl"],
        None,
    ],
)
def test_a_mapping_is_frozen_as_the_teachers_class_of_each_class(classes: Any) -> None:
    found = mapped(classes, theirs=THEIRS)
    assert not found.problems
    assert isinstance(found.spec, DistillJob)
    assert found.spec.teachers is not None
    assert found.spec.teachers[0].classes == (3, 4, 1)
    assert ("classes_matched_by_name" in warned(found)) == (classes is None)


def test_another_order_of_the_same_names_is_matched_and_the_same_order_left_alone() -> None:
    swapped, same = (mapped(size=3, theirs=theirs) for theirs in (("dog", "cat", "owl"), NAMES))
    assert swapped.spec.teachers[0].classes == (1, 0, 2)
    assert "classes_matched_by_name" in warned(swapped)
    assert same.spec.teachers[0].classes is None
    assert not warned(same)


def test_the_first_classes_of_a_teacher_of_more_are_matched_too() -> None:
    found = mapped(size=4, theirs=(*NAMES, "bee"))
    assert not found.problems
    assert found.spec.teachers[0].classes == (0, 1, 2)
    assert "classes_matched_by_name" in warned(found)


def test_numbers_as_names_are_matched_to_a_dataset_without_names() -> None:
    """As the graph of a classifier keeps its labels."""
    found = mapped(size=3, theirs=("2", "0", "1"), data=animals(None))
    assert not found.problems
    assert found.spec.teachers[0].classes == (1, 2, 0)
    assert "classes_matched_by_name" in warned(found)
    assert mapped(size=3, theirs=("low", "mid", "high"), data=animals(None)).spec.teachers[0].classes is None


def test_numbers_are_the_dataset_classes_without_names() -> None:
    found = mapped({"2": 0, "0": 4, "1": 3}, data=animals(None))
    assert not found.problems
    assert found.spec.teachers[0].classes == (4, 3, 0)


@pytest.mark.parametrize(
    ("classes", "code"),
    [
        ([3, 4], "classes_incomplete"),
        ({"cat": 3, "dog": 4}, "classes_incomplete"),
        ({"cat": 3, "dog": 4, "cow": 1}, "classes_incomplete"),
        ({"cat": 3, "0": 2, "dog": 4, "owl": 1}, "classes_incomplete"),
        ([3, 4, 5], "unknown_class"),
        (["cat", "dog", "cow"], "unknown_class"),
        ([3, 3, 1], "duplicate_class"),
    ],
)
def test_a_mapping_that_does_not_name_each_class_once_is_refused(classes: Any, code: str) -> None:
    assert codes(mapped(classes, theirs=THEIRS)) == {("/teachers/0/classes", code)}


def test_more_classes_without_names_are_refused_with_the_way_out() -> None:
    (problem,) = mapped().problems
    assert (problem.pointer, problem.code) == ("/teachers/0", "size_mismatch")
    assert "`classes` of the teacher" in problem.detail


def test_rows_without_a_target_have_no_classes_to_map() -> None:
    bare = animals().model_copy(update={"targets": {}})
    assert ("/teachers/0/classes", "no_classes") in codes(mapped([3, 4, 1], data=bare, target="digit"))


def test_a_selection_needs_every_score_and_a_head_of_the_students_own() -> None:
    found = mapped([3, 4, 1], store={"top_k": 2})
    assert ("/teachers/0", "needs_all_scores") in codes(found)
    simkd = {"method": "simkd", "teacher_layer": "penultimate", "student_layer": "penultimate"}
    found = mapped([3, 4, 1], distillation={"features": [simkd]})
    assert ("/distillation/features/0/method", "classes_differ") in codes(found)


def test_teachers_of_a_task_are_mapped_too_and_lent_as_what_they_teach() -> None:
    tasks = [{"name": "digit", "teachers": [{"model": TEACHER, "classes": [3, 4, 1]}]}, {"name": "other"}]
    data = animals().model_copy(update={"targets": {name: animals().targets["digit"] for name in ("digit", "other")}})
    spec = {"kind": "multitask", "tasks": tasks, "student": {"family": "mlp"}}
    relation = {"matrix": [[1, 0], [1, 1]], "apply": "teachers"}
    found = resolved(spec | {"relation": relation}, data, {TEACHER: teacher(size=5)})
    assert not found.problems
    assert isinstance(found.spec, MultitaskJob)
    assert found.spec.tasks[0].teachers is not None
    assert found.spec.tasks[0].teachers[0].classes == (3, 4, 1)
    assert found.spec.relation is not None
    assert found.spec.relation.model_dump()["agreeing"] == ((), (0,))
