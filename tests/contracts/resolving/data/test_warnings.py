"""Warnings of datasets in dry runs: those that concern the job's targets and inputs, and files read twice."""

from typing import Any

import pytest

from app.contracts.resources.facts import DatasetFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput
from app.contracts.resources.statistics import DataWarning
from tests.contracts.resolving.data.test_joining import DIGIT, FACTS, SIZE, A, B, resolved
from tests.contracts.resolving.test_resolve import TEACHER, teacher

TOLD = TargetFacts(kind="teacher", size=3, predicts=ClassOutput(kind="class"), labelled={"train": 70})
WARNINGS = (
    DataWarning(code="class_without_labels", message="one", targets=("digit",)),
    DataWarning(code="small_split", message="two", targets=("size",)),
    DataWarning(code="sentinel_values", message="three"),
    DataWarning(code="about_columns", message="four", targets=("told",)),
)
DATA = FACTS.model_copy(update={"targets": {"digit": DIGIT, "size": SIZE, "told": TOLD}, "warnings": WARNINGS})
MLP: dict[str, Any] = {"family": "mlp", "hidden": [4]}
CLASSES, INPUT, VALUES, COLUMNS = "class_without_labels", "sentinel_values", "small_split", "about_columns"


def codes(spec: dict[str, Any], *datasets: DatasetFacts) -> list[str]:
    found = resolved(spec, *datasets)
    assert not found.problems
    ours = {CLASSES, INPUT, VALUES, COLUMNS, "same_file"}
    return [warning["code"] for warning in found.warnings if warning["code"] in ours]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"kind": "train", "target": "digit", "model": MLP}, [CLASSES, INPUT]),
        ({"kind": "train", "target": "size", "model": MLP}, [VALUES, INPUT]),
        ({"kind": "distill", "target": "digit", "teachers": [{"columns": "told"}], "student": MLP},
         [CLASSES, INPUT, COLUMNS]),
        ({"kind": "multitask", "tasks": [{"name": "digit"}, {"name": "size"}], "student": MLP},
         [CLASSES, VALUES, INPUT]),
        ({"kind": "preflight", "job": {"kind": "train", "dataset": A, "target": "size", "model": MLP}},
         [VALUES, INPUT]),
    ],
)  # fmt: skip
def test_a_dry_run_repeats_the_warnings_that_concern_the_job(spec: dict[str, Any], expected: list[str]) -> None:
    data = {} if spec["kind"] == "preflight" else {"dataset": A}
    assert codes({**data, **spec}, DATA) == expected


@pytest.mark.parametrize(("inputs", "told"), [(None, True), (["x"], True), (["x", "z"], True), (["z"], False)])
def test_a_warning_about_an_input_is_for_networks_that_read_it(inputs: list[str] | None, told: bool) -> None:
    about = DataWarning(code=INPUT, message="five", inputs=("x",))
    (x,) = DATA.inputs.values()
    data = DATA.model_copy(update={"warnings": (about,), "inputs": {"x": x, "z": x}})
    spec = {"kind": "train", "dataset": A, "target": "digit", "model": MLP | ({"inputs": inputs} if inputs else {})}
    assert codes(spec, data) == ([INPUT] if told else [])


def test_of_several_datasets_the_one_is_named() -> None:
    spec = {"kind": "train", "datasets": [{"dataset": A}, {"dataset": B}], "target": "digit", "model": MLP}
    found = resolved(spec, FACTS, FACTS.model_copy(update={"warnings": WARNINGS[:1]}))
    assert {"code": CLASSES, "message": f"dataset {B}: one"} in found.warnings


def test_datasets_with_the_same_file_are_named() -> None:
    spec = {"kind": "train", "datasets": [{"dataset": A}, {"dataset": B}], "target": "digit", "model": MLP}
    first, second = (FACTS.model_copy(update={"sha256": each * 64}) for each in "ab")
    assert codes(spec, first, first) == ["same_file"]
    assert codes(spec, first, second) == []
    assert codes(spec, FACTS, FACTS) == [], "facts of an older version have no digest"
    (warning,) = (each for each in resolved(spec, first, first).warnings if each["code"] == "same_file")
    assert A in warning["message"]
    assert B in warning["message"]


def test_what_makes_a_teacher_answer_otherwise_than_elsewhere_is_told_once_by_its_jobs() -> None:
    notes = tuple({"code": code, "message": "as told"} for code in ("texts_padded_behind", "state_dict_chosen"))
    facts = teacher(3, (4,)).model_copy(update={"warnings": notes})
    taught = [{"model": TEACHER, "output": "digit"}] * 2
    spec = {"kind": "distill", "dataset": A, "target": "digit", "teachers": taught, "student": MLP}
    found = [each for each in resolved(spec, FACTS, models={TEACHER: facts}).warnings if "as told" in each["message"]]
    assert found == [{"code": "texts_padded_behind", "message": f"teacher {TEACHER}: as told"}]
    train = {"kind": "train", "dataset": A, "target": "digit", "model": MLP}
    assert "texts_padded_behind" not in str(resolved(train, FACTS, models={TEACHER: facts}).warnings)
