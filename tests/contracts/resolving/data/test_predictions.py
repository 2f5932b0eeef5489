"""Predictions are resolved as teacher columns of their dataset, or what is wrong with them is named by pointer."""

from typing import Any

from app.contracts.resources.facts import DatasetFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput
from tests.contracts.resolving.data.test_joining import DIGIT, FACTS, SPLITS, A, B, C, codes, resolved

OUTPUT = ClassOutput(kind="class", output="probabilities")
TOLD = TargetFacts(kind="teacher", size=3, predicts=OUTPUT, labelled=SPLITS)


def predictions(of: str = A, **outputs: TargetFacts) -> DatasetFacts:
    return DatasetFacts(rows=100, splits=SPLITS, inputs={}, targets=outputs or {"digit": TOLD}, of=of)


def distil(*teachers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    student = {"family": "mlp", "hidden": [5]}
    return {
        "kind": "distill",
        "dataset": A,
        "target": "digit",
        "teachers": list(teachers),
        "student": student,
    } | changes


def test_the_only_output_and_one_of_the_name_of_the_task_need_no_name() -> None:
    one = resolved(distil({"predictions": C}), FACTS, None, predictions(other=TOLD))
    several = resolved(distil({"predictions": C}), FACTS, None, predictions(other=TOLD, digit=TOLD))
    assert codes(one) == codes(several) == []
    assert [found.spec.teachers[0].output for found in (one, several)] == ["other", "digit"]  # type: ignore[union-attr,index]
    assert one.complete


def test_a_resolved_job_is_resolved_to_itself() -> None:
    first = resolved(distil({"predictions": C}), FACTS, None, predictions())
    document = first.spec.model_dump(mode="json")
    assert resolved(document, FACTS, None, predictions()).spec == first.spec


def test_a_teacher_left_out_of_a_spec_is_left_out_of_its_json() -> None:
    """Specs of an older version, and the digests of theirs, have no such field."""
    found = resolved(distil({"columns": "told"}), FACTS.model_copy(update={"targets": {"digit": DIGIT, "told": TOLD}}))
    assert not found.problems
    assert "predictions" not in found.spec.model_dump_json()


def test_the_dataset_of_a_job_is_not_changed_by_what_predictions_add() -> None:
    resolved(distil({"predictions": C}), FACTS, None, predictions())
    assert list(FACTS.targets) == ["digit"]


def test_while_predictions_are_not_inspected_nothing_is_said_of_the_data() -> None:
    several = distil({"predictions": C}, datasets=[{"dataset": A}, {"dataset": B}])
    del several["dataset"]
    found = resolved(several, FACTS, FACTS, None)
    assert (codes(found), found.complete) == ([], False)


def test_predictions_of_one_dataset_teach_a_mixture_and_leave_the_rest_without() -> None:
    unlabelled = FACTS.model_copy(update={"targets": {}})
    several = distil({"predictions": C}, datasets=[{"dataset": A}, {"dataset": B}])
    del several["dataset"]
    found = resolved(several, unlabelled, FACTS, predictions(A))
    assert codes(found) == []
    (missing,) = [each["message"] for each in found.warnings if each["code"] == "teacher_rows_missing"]
    assert "70 of 140 train" in missing
    assert codes(resolved(several, unlabelled, FACTS, predictions(B))) == [("/datasets/0", "dataset_unused")]


def test_classes_are_matched_by_name_or_refused() -> None:
    named = FACTS.model_copy(update={"targets": {"digit": DIGIT.model_copy(update={"classes": ("a", "b", "c")})}})
    other = TOLD.model_copy(update={"predicts": OUTPUT.model_copy(update={"classes": ("c", "a", "b")})})
    found = resolved(distil({"predictions": C}), named, None, predictions(digit=other))
    assert found.spec.teachers[0].classes == (1, 2, 0)  # type: ignore[union-attr,index]
    wrong = TOLD.model_copy(update={"predicts": OUTPUT.model_copy(update={"classes": ("x", "y", "z")})})
    assert codes(resolved(distil({"predictions": C}), named, None, predictions(digit=wrong))) == [
        ("/teachers/0/predictions", "class_names_differ")
    ]


def test_predictions_are_no_dataset_in_any_place_of_a_job() -> None:
    several = distil({"predictions": C}, datasets=[{"dataset": A}, {"dataset": C}])
    del several["dataset"]
    assert ("/datasets/1", "not_a_dataset") in codes(resolved(several, FACTS, None, predictions()))
    train = {"kind": "train", "dataset": C, "target": "digit", "model": {"family": "mlp", "hidden": [5]}}
    assert codes(resolved(train, FACTS, None, predictions())) == [("/dataset", "not_a_dataset")]
