"""Teachers given as columns that have outputs for some rows: told with the counts, refused without any to train on."""

from typing import Any

import pytest

from app.contracts.resolving.resolve import Resolution
from app.contracts.resources.facts import TargetFacts
from app.contracts.resources.manifests import ClassOutput
from app.contracts.resources.splits import SplitName
from tests.contracts.resolving.data.test_joining import DIGIT, FACTS, A, B, resolved
from tests.contracts.resolving.test_resolve import codes, warned

SPEC: dict[str, Any] = {
    "kind": "distill",
    "target": "digit",
    "teachers": [{"columns": "told"}],
    "student": {"family": "mlp", "hidden": [4]},
}


def found(labelled: dict[SplitName, int], **job: object) -> Resolution:
    told = TargetFacts(kind="teacher", size=DIGIT.size, predicts=ClassOutput(kind="class"), labelled=labelled)
    facts = FACTS.model_copy(update={"targets": {"digit": DIGIT, "told": told}})
    if "datasets" in job:
        return resolved(SPEC | job, facts, FACTS.model_copy(update={"targets": {"digit": DIGIT}}))
    return resolved(SPEC | {"dataset": A} | job, facts)


def message(resolution: Resolution) -> str:
    (text,) = (each["message"] for each in resolution.warnings if each["code"] == "teacher_rows_missing")
    return text


ALL = dict(FACTS.splits)


def test_a_teacher_of_all_rows_is_no_warning() -> None:
    assert "teacher_rows_missing" not in warned(found(ALL))


@pytest.mark.parametrize("split", ALL)
def test_rows_without_an_output_are_counted_by_split(split: SplitName) -> None:
    resolution = found({**ALL, split: ALL[split] - 1})
    assert not resolution.problems
    assert f"no output for 1 of {ALL[split]} {split} rows" in message(resolution)
    assert "teaches only" not in message(resolution)


def test_few_training_rows_are_named() -> None:
    few = ALL["train"] // 3
    assert f"teaches only {few} of {ALL['train']} training rows" in message(found({**ALL, "train": few}))


def test_a_teacher_without_any_training_row_is_refused() -> None:
    resolution = found({**ALL, "train": 0})
    assert codes(resolution) == {("/teachers/0/columns", "teacher_without_outputs")}


def test_in_a_task_of_several_too() -> None:
    task = {"name": "digit", "teachers": [{"columns": "told"}]}
    tasks = [task, {"name": "other", "target": "digit"}]
    job: dict[str, Any] = {"kind": "multitask", "tasks": tasks, "student": SPEC["student"]}
    told = TargetFacts(kind="teacher", size=DIGIT.size, predicts=ClassOutput(kind="class"), labelled={"train": 0})
    facts = FACTS.model_copy(update={"targets": {"digit": DIGIT, "told": told}})
    assert codes(resolved({**job, "dataset": A}, facts)) == {("/tasks/0/teachers/0/columns", "teacher_without_outputs")}


def test_over_several_datasets_all_rows_count() -> None:
    resolution = found(ALL, datasets=[{"dataset": A}, {"dataset": B}])
    assert not resolution.problems
    rows = ALL["train"]
    assert f"no output for {rows} of {2 * rows} train" in message(resolution)


def test_facts_of_an_older_version_say_nothing() -> None:
    assert not found({}).problems
    assert "teacher_rows_missing" not in warned(found({}))
