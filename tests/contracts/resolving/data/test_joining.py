"""Several datasets are resolved as one, or what they disagree about is named by pointer and code."""

import json
from typing import Any

import pytest

from app.contracts.resolving.data.joining import joined_facts
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts, OutputFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput
from app.contracts.resources.tables import InputEncoding
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import JOB_SPEC, DatasetRef, MultitaskJob, PreflightJob

A, B, C = (f"ds_01890a5d-ac96-774b-bcce-b302099a805{i}" for i in range(3))
TEACHER = "mdl_01890a5d-ac96-774b-bcce-b302099a8057"
SPLITS: dict[Any, int] = {"train": 70, "validation": 15, "test": 15}
DIGIT = TargetFacts(kind="class", size=3, labelled=SPLITS)
SIZE = TargetFacts(kind="value", size=1, labelled=SPLITS, mean=10.0, std=2.0)
FACTS = DatasetFacts(rows=100, splits=SPLITS, inputs={"x": InputFacts(shape=(4,))}, targets={"digit": DIGIT})
SPEC: dict[str, Any] = {
    "kind": "multitask",
    "datasets": [{"dataset": A}, {"dataset": B}],
    "tasks": [{"name": "digit"}, {"name": "size"}],
    "student": {"family": "mlp", "hidden": [5]},
}


def facts(shape: tuple[int, ...] = (4,), train: int = 70, **targets: TargetFacts) -> DatasetFacts:
    splits: dict[Any, int] = {"train": train, "test": 10}
    return DatasetFacts(rows=train + 10, splits=splits, inputs={"x": InputFacts(shape=shape)}, targets=targets)


def resolved(
    spec: dict[str, Any], *datasets: DatasetFacts | None, models: dict[str, ModelFacts | None] | None = None
) -> Resolution:
    known = dict(zip((A, B, C), datasets, strict=False))
    return resolve(JOB_SPEC.validate_json(json.dumps(spec)), known, models or {}, threads=1)


def codes(found: Resolution) -> list[tuple[str, str]]:
    return [(problem.pointer, problem.code) for problem in found.problems]


def joined(*datasets: DatasetFacts) -> tuple[DatasetFacts | None, Findings]:
    findings = Findings()
    refs = [DatasetRef(dataset=name) for name in (A, B, C)[: len(datasets)]]
    return joined_facts(refs, dict(zip((A, B, C), datasets, strict=False)), findings), findings


def test_the_facts_of_one_dataset_are_left_as_they_are() -> None:
    found, _ = joined(FACTS)
    assert found is FACTS


def test_rows_splits_and_labels_add_up_and_a_target_that_one_lacks_has_no_label_there() -> None:
    found, findings = joined(FACTS, facts(train=30, digit=DIGIT, size=SIZE))
    assert not findings.problems
    assert found is not None
    assert (found.rows, found.splits) == (140, {"train": 100, "validation": 15, "test": 25})
    assert found.targets["digit"].labelled == {"train": 140, "validation": 30, "test": 30}
    assert found.targets["size"] == SIZE


def test_mean_and_deviation_of_a_value_are_those_of_all_labelled_rows() -> None:
    one = SIZE.model_copy(update={"labelled": {"train": 30}})
    two = SIZE.model_copy(update={"labelled": {"train": 10}, "mean": 30.0, "std": 4.0})
    found, _ = joined(facts(size=one), facts(size=two))
    assert found is not None
    assert found.targets["size"].mean == pytest.approx(15.0)
    expected = ((30 * (2.0**2 + 5.0**2) + 10 * (4.0**2 + 15.0**2)) / 40) ** 0.5
    assert found.targets["size"].std == pytest.approx(expected)


def test_names_of_classes_hold_for_a_dataset_that_only_counts_them() -> None:
    named = DIGIT.model_copy(update={"classes": ("a", "b", "c")})
    found, findings = joined(facts(digit=DIGIT), facts(digit=named))
    assert not findings.problems
    assert found is not None
    assert found.targets["digit"].classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("other", "code", "fragment"),
    [
        (facts(shape=(2, 2), size=SIZE), "shape_mismatch", "[2, 2]"),
        (facts(size=SIZE, digit=SIZE), "target_mismatch", "the kind value"),
        (facts(size=SIZE, digit=DIGIT.model_copy(update={"size": 4})), "target_mismatch", "the size 4"),
    ],
)
def test_a_disagreement_is_refused_and_names_both_datasets(other: DatasetFacts, code: str, fragment: str) -> None:
    found = resolved(SPEC, FACTS, other)
    assert codes(found) == [("/datasets/1", code)]
    detail = found.problems[0].detail
    assert all(word in detail for word in (A, B, fragment))


def test_classes_in_another_order_are_refused() -> None:
    one, two = (DIGIT.model_copy(update={"classes": names}) for names in (("a", "b", "c"), ("b", "a", "c")))
    found = resolved(SPEC, facts(digit=one, size=SIZE), facts(digit=two))
    assert codes(found) == [("/datasets/1", "target_mismatch")]


@pytest.mark.parametrize("change", [{"scale": 0.5}, {"standardize": True}])
def test_inputs_that_are_transformed_otherwise_are_refused(change: dict[str, Any]) -> None:
    other = facts(size=SIZE).model_copy(update={"inputs": {"x": InputFacts(shape=(4,), **change)}})
    assert codes(resolved(SPEC, FACTS, other)) == [("/datasets/1", "transform_mismatch")]


def test_inputs_of_other_categories_are_refused_and_of_other_fills_warned_of() -> None:
    """Trap: a student keeps one list of categories, and would read the second dataset by those of the first."""

    def having(**encoding: Any) -> DatasetFacts:
        found = InputFacts(shape=(4,), encoding=InputEncoding(columns=("c",), **encoding))
        return facts(digit=DIGIT, size=SIZE).model_copy(update={"inputs": {"x": found}})

    one = having(encoding="one_hot", categories=(("a", "b", "c"),))
    assert not codes(resolved(SPEC, one, one))
    for other in (
        having(encoding="one_hot", categories=(("b", "a", "c"),)),
        having(encoding="ordinal", categories=(("a", "b", "c"),)),
        having(missing="mean", fill=(1.0,) * 4),
        facts(size=SIZE),
    ):
        assert codes(resolved(SPEC, one, other)) == [("/datasets/1", "transform_mismatch")]
    numbers = InputFacts(shape=(2,))
    second = [
        each.model_copy(update={"inputs": {"n": numbers, **each.inputs}})
        for each in (one, having(encoding="one_hot", categories=(("a", "b", "d"),)))
    ]
    assert codes(resolved(SPEC, *second)) == [("/datasets/1", "transform_mismatch")], "the second input is compared too"
    means = [having(missing="mean", fill=(fill,) * 4) for fill in (1.0, 2.0)]
    found = resolved(SPEC, *means)
    assert not found.problems
    assert "fill_differs" in {warning["code"] for warning in found.warnings}


@pytest.mark.parametrize(("counts", "told"), [({}, False), (None, True), ({"b": {}}, True)])
def test_fills_that_fill_nothing_are_not_told(counts: Any, told: bool) -> None:
    one, two = (
        InputFacts(
            shape=(4,), encoding=InputEncoding(columns=("c",), missing="mean", fill=(fill,) * 4), column_counts=counts
        )
        for fill in (1.0, 2.0)
    )
    first, second = (facts(digit=DIGIT, size=SIZE).model_copy(update={"inputs": {"x": found}}) for found in (one, two))
    warnings = {warning["code"] for warning in resolved(SPEC, first, second).warnings}
    assert ("fill_differs" in warnings) == told


def test_the_values_of_all_together_have_a_bound_too() -> None:
    one, two = (SIZE.model_copy(update={"mean": mean, "std": 1e30}) for mean in (-1e30, 1e30))
    found = resolved(SPEC, facts(digit=DIGIT, size=one), facts(size=two))
    assert codes(found) == [("/datasets", "wrong_scale")]


def test_what_is_known_is_compared_while_another_is_still_verified() -> None:
    spec = SPEC | {"datasets": [{"dataset": A}, {"dataset": B}, {"dataset": C}]}
    waits = resolved(spec, FACTS, None, facts(size=SIZE))
    assert not waits.problems
    assert not waits.complete
    assert codes(resolved(spec, FACTS, None, facts(shape=(5,), size=SIZE))) == [("/datasets/2", "shape_mismatch")]


def test_heads_come_from_the_targets_of_all() -> None:
    found = resolved(SPEC, FACTS, facts(size=SIZE))
    assert isinstance(found.spec, MultitaskJob)
    assert not found.problems
    assert found.complete
    assert found.spec.student.outputs == {"digit": 3, "size": 1}
    again = resolve(found.spec, {A: FACTS, B: facts(size=SIZE)}, {}, threads=9)
    assert again.spec == found.spec


def test_a_batch_without_a_row_of_some_dataset_is_refused_with_the_way_out() -> None:
    spec = SPEC | {"datasets": [{"dataset": A, "weight": 9.0}, {"dataset": B, "weight": 0.5}]}
    small, large = (spec | {"training": {"batch_size": size}} for size in (18, 19))
    found = resolved(small, FACTS, facts(size=SIZE))
    assert codes(found) == [("/training/batch_size", "batch_too_small")]
    assert "19 rows or more" in found.problems[0].detail
    assert not resolved(large, FACTS, facts(size=SIZE)).problems


def test_a_dataset_from_which_no_task_learns_is_refused() -> None:
    assert codes(resolved(SPEC, facts(digit=DIGIT, size=SIZE), facts(other=DIGIT))) == [
        ("/datasets/1", "dataset_unused")
    ]
    bare = SIZE.model_copy(update={"labelled": {"train": 0, "test": 9}})
    assert codes(resolved(SPEC, facts(digit=DIGIT, size=SIZE), facts(size=bare))) == [("/datasets/1", "dataset_unused")]


def teacher() -> ModelFacts:
    output = OutputFacts(spec=ClassOutput(kind="class"), size=3)
    return ModelFacts(architecture=None, input_shape=(4,), inputs={}, outputs={"digit": output}, parameters=9)


def test_a_model_teaches_on_rows_of_a_dataset_without_any_label() -> None:
    distill = {
        "kind": "distill",
        "datasets": SPEC["datasets"],
        "teachers": [{"model": TEACHER}],
        "student": SPEC["student"],
    }
    assert not resolved(distill, FACTS, facts(), models={TEACHER: teacher()}).problems


def test_columns_teach_in_the_dataset_that_has_them_alone() -> None:
    told = TargetFacts(kind="teacher", size=3, predicts=ClassOutput(kind="class"), labelled=SPLITS)
    task = {"name": "digit", "teachers": [{"columns": "told"}]}
    labels_off = DistillationSpec.model_validate({"supervised": {"weight": 0.0}}).model_dump(mode="json")
    one = facts(digit=DIGIT, told=told)
    assert not resolved(SPEC | {"tasks": [task]}, one, facts(digit=DIGIT)).problems
    silent = SPEC | {"tasks": [task | {"distillation": labels_off}]}
    assert codes(resolved(silent, one, facts(digit=DIGIT))) == [("/datasets/1", "dataset_unused")]


def test_a_dataset_is_named_once_and_eight_are_the_most() -> None:
    for refs in ([{"dataset": A}, {"dataset": A, "weight": 2.0}], [{"dataset": f"{A[:-2]}{i:02}"} for i in range(9)]):
        with pytest.raises(ValueError, match=r"twice|at most 8"):
            JOB_SPEC.validate_json(json.dumps(SPEC | {"datasets": refs}))


def test_problems_of_a_preflights_job_lie_below_it() -> None:
    found = resolved({"kind": "preflight", "job": SPEC}, FACTS, facts(shape=(9,), size=SIZE))
    assert isinstance(found.spec, PreflightJob)
    assert codes(found) == [("/job/datasets/1", "shape_mismatch")]
