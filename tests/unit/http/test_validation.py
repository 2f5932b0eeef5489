"""pydantic's errors become RFC 6901 pointers into what the client sent."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from app.contracts.resources.manifests import DatasetManifest, ModelManifest
from app.contracts.specs.jobs import JOB_SPEC
from app.http.errors import Invalid
from app.http.strict_json import json_pointer
from app.http.validation import parse_as, placed

DATASET = "ds_01890000-0000-7000-8000-000000000000"
MODEL = "mdl_01890000-0000-7000-8000-000000000000"


def train(**changes: Any) -> dict[str, Any]:
    return {"kind": "train", "dataset": DATASET, "target": "y", "model": {"family": "mlp", "hidden": [8]}} | changes


def distill(**changes: Any) -> dict[str, Any]:
    spec = {"kind": "distill", "dataset": DATASET, "teachers": [{"model": MODEL}], "student": {"family": "mlp"}}
    return spec | changes


def faults(document: Any, adapter: TypeAdapter[Any] = JOB_SPEC) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        parse_as(adapter, json.dumps(document).encode())
    assert caught.value.problems
    return {problem.pointer: problem.code for problem in caught.value.problems}


def test_a_field_one_level_too_high_is_told_its_place() -> None:
    with pytest.raises(Invalid) as caught:
        parse_as(JOB_SPEC, json.dumps(train(recipe="best")).encode())
    (problem,) = caught.value.problems or ()
    assert "`recipe` is a field of `training`" in problem.detail


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        (
            distill(distillation={"soft_targets": []}),
            "expected 1 or more items, found 0: add some, or leave `soft_targets` out where it may be left out",
        ),
        (
            distill(distillation={"features": []}),
            "expected 1 or more items, found 0: add some, or leave `features` out where it may be left out",
        ),
        (distill(teachers=[{"model": MODEL}] * 17), "expected 16 items at most, found 17: leave some out"),
        (train(name="x" * 500), "expected 200 characters at most, found 500: leave some out"),
        (train(labels={f"l{i}": "x" for i in range(99)}), "expected 32 items at most, found 99: leave some out"),
    ],
)
def test_a_wrong_length_names_the_bound_and_the_way_out(document: Any, detail: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_as(JOB_SPEC, json.dumps(document).encode())
    assert [each.detail for each in caught.value.problems or ()] == [detail]


@pytest.mark.parametrize(
    ("document", "place", "code"),
    [
        (train(model={"family": "mlp", "hidden": [0]}), "/model/hidden/0", "out_of_range"),
        (train(model={"family": "mlp", "hidden": [8, True]}), "/model/hidden/1", "wrong_type"),
        (train(model={"family": "mlp", "hiden": [8]}), "/model/hiden", "unknown_field"),
        (train(recipe="best"), "/recipe", "unknown_field"),
        (train(model={"family": "vgg"}), "/model", "unknown_value"),
        (train(model={}), "/model", "missing"),
        (train(training={"learning_rate": 1e308}), "/training/learning_rate", "out_of_range"),
        (train(training={"epochs": 2**63}), "/training/epochs", "out_of_range"),
        (train(training={"epochs": 2**70}), "/training/epochs", "out_of_range"),
        (train(training={"epochs": 1.5}), "/training/epochs", "wrong_type"),
        (train(training={"epochs": True}), "/training/epochs", "wrong_type"),
        (train(training={"epochs": "3"}), "/training/epochs", "wrong_type"),
        (train(training={"schedule": "sometimes"}), "/training/schedule", "unknown_value"),
        (train(training={"schedule": {"kind": "step", "milestones": []}}),
         "/training/schedule/milestones", "too_short"),
        (train(training={"epochs": 1, "steps": 1}), "/training", "invalid_value"),
        (train(labels={"a/b": 3}), "/labels/a~1b", "wrong_type"),
        (train(labels={"!": "x"}), "/labels/!", "bad_format"),
        (train(dataset="ds_1"), "/dataset", "bad_format"),
        (train(dataset=None), "", "invalid_value"),
        ({"kind": "train", "dataset": DATASET}, "/model", "missing"),
        ({"kind": "guess"}, "", "unknown_value"),
        ({}, "", "missing"),
        ([], "", "wrong_type"),
        (distill(teachers=[]), "/teachers", "too_short"),
        (distill(teachers=[{"model": MODEL, "weight": 0.0}]), "/teachers", "weights_sum_to_zero"),
        (distill(teachers=[{"model": MODEL}, {"model": MODEL, "job": "x"}]), "/teachers/1/job", "bad_format"),
        (distill(teachers=[{}]), "/teachers/0", "invalid_value"),
        (distill(distillation={"soft_targets": {"method": "kd", "temperature": 0.0}}),
         "/distillation/soft_targets/temperature", "out_of_range"),
        (distill(distillation={"soft_targets": [{"method": "kd"}, {"method": "kd", "temperature": 1e9}]}),
         "/distillation/soft_targets/1/temperature", "out_of_range"),
        (distill(distillation={"soft_targets": {"method": "kd", "weight": 0.0}, "supervised": {"weight": 0}}),
         "/distillation", "weights_sum_to_zero"),
        ({"kind": "multitask", "dataset": DATASET, "tasks": [], "student": {"family": "mlp"}}, "/tasks", "too_short"),
        ({"kind": "multitask", "dataset": DATASET, "tasks": [{"name": "a"}] * 2, "student": {"family": "mlp"}},
         "/tasks", "duplicate_name"),
        ({"kind": "multitask", "dataset": DATASET, "tasks": [{"name": "a", "weight": 0}], "student": {"family": "mlp"}},
         "/tasks", "weights_sum_to_zero"),
        ({"kind": "multitask", "dataset": DATASET, "tasks": [{"name": "a"}, {"name": "b", "teachers": []}],
          "student": {"family": "mlp"}}, "/tasks/1/teachers", "too_short"),
        ({"kind": "multitask", "dataset": DATASET, "tasks": [{"name": "a"}], "student": {"family": "mlp"},
          "relation": {"matrix": [[-1.0]]}}, "/relation/matrix/0/0", "out_of_range"),
    ],
)  # fmt: skip
def test_an_error_is_reported_by_its_place_and_code(document: Any, place: str, code: str) -> None:
    assert faults(document)[place] == code


def test_a_key_that_looks_like_the_tag_of_a_union_does_not_mislead() -> None:
    document = train(train={"model": {"hidden": 1}}, model={"family": "mlp", "mlp": 1, "hidden": [0]})
    found = faults(document)
    assert found == {"/train": "unknown_field", "/model/mlp": "unknown_field", "/model/hidden/0": "out_of_range"}


def test_manifests_point_into_their_unions() -> None:
    manifest = {
        "name": "d",
        "format": "npz",
        "inputs": {"x": {"kind": "array", "shape": [0]}},
        "targets": {"y": {"kind": "class", "classes": 1}, "z": {"kind": "price"}},
    }
    found = faults(manifest, TypeAdapter(DatasetManifest))
    assert found["/inputs/x/shape/0"] == "out_of_range"
    assert found["/targets/y/classes"] == "out_of_range"
    assert found["/targets/z"] == "unknown_value"


def test_a_model_without_architecture_says_what_is_needed() -> None:
    manifest = {"name": "m", "format": "safetensors", "outputs": {"y": {"kind": "class"}}}
    with pytest.raises(Invalid) as caught:
        parse_as(TypeAdapter(ModelManifest), json.dumps(manifest).encode())
    assert "needs `architecture`" in caught.value.detail


@pytest.mark.parametrize(
    "document",
    [
        train(target="s3cret-value!"),
        train(model={"family": "s3cret-value"}),
        train(name=["s3cret-value"]),
        train(training={"optimizer": "s3cret-value", "schedule": "s3cret-value"}),
        {"kind": "s3cret-value"},
    ],
)
def test_the_input_is_not_echoed(document: Any) -> None:
    with pytest.raises(Invalid) as caught:
        parse_as(JOB_SPEC, json.dumps(document).encode())
    assert "s3cret" not in caught.value.document("/").model_dump_json()


def test_a_name_with_other_characters_is_told_what_to_write() -> None:
    with pytest.raises(Invalid) as caught:
        parse_as(JOB_SPEC, json.dumps(train(target="Identity:0")).encode())
    assert "1 to 64 letters" in caught.value.detail
    assert "write `_` for them" in caught.value.detail


def test_a_key_too_long_to_show_ends_the_pointer_above_it() -> None:
    assert faults(train(labels={"k" * 5000: "v"})) == {"/labels": "bad_format"}


def test_ten_thousand_faults_are_answered_with_the_first_ones() -> None:
    with pytest.raises(Invalid) as caught:
        parse_as(JOB_SPEC, json.dumps(train(**{f"field{i}": i for i in range(10_000)})).encode())
    assert caught.value.problems is not None
    assert len(caught.value.problems) == 50


def test_a_pointer_escapes_as_rfc_6901_says() -> None:
    assert json_pointer(("a/b", "m~n", 0, "")) == "/a~1b/m~0n/0/"


def test_a_missing_key_is_the_last_step_even_under_tags() -> None:
    document = {"kind": "train", "model": {"family": "mlp"}}
    assert placed(("train", "model", "mlp", "x"), document, ends_in_key=True) == ("model", "x")


def test_a_bad_item_does_not_make_its_list_too_short_as_well() -> None:
    assert faults(distill(teachers=[{"model": MODEL, "weight": -1.0}])) == {"/teachers/0/weight": "out_of_range"}


def test_fractions_that_do_not_sum_to_one_are_the_only_fault() -> None:
    manifest = {"name": "d", "format": "npz", "inputs": {"x": {"kind": "array"}}}
    splits = {"fractions": {"train": 0.5, "test": 0.4}}
    assert faults(manifest | {"splits": splits}, TypeAdapter(DatasetManifest)) == {"/splits/fractions": "invalid_value"}
    unknown = faults(manifest | {"splits": {"column": 3}}, TypeAdapter(DatasetManifest))
    assert unknown == {"/splits/column": "wrong_type"}


JOB = "job_01890000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("document", "part"),
    [
        (distill(teachers=[{"model": JOB}]), 'but `job_…` is a job: as a teacher, write {"job": "job_…"}'),
        (distill(teachers=[{"job": MODEL}]), 'but `mdl_…` is a model: as a teacher, write {"model": "mdl_…"}'),
        (distill(dataset=MODEL), "but `mdl_…` is a model: `GET /v1/datasets` lists datasets"),
        (distill(teachers=[{"model": DATASET}]), "but `ds_…` is a dataset: `GET /v1/models` lists models"),
        (train(dataset="ds_0189"), "found `ds_` and 4 characters: give the id in full"),
        (train(dataset="digits"), "found a string of 6 characters: `GET /v1/datasets` lists them"),
    ],
)
def test_an_id_of_another_kind_is_named_with_its_place(document: dict[str, Any], part: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_as(JOB_SPEC, json.dumps(document).encode())
    assert part in caught.value.detail
    assert caught.value.problems is not None
    assert caught.value.problems[0].code == "bad_format"


@pytest.mark.parametrize(
    ("training", "pointer", "told"),
    [
        ({"select_by": "f1"}, "/training/select_by", "'macro_f1'"),
        ({"class_weights": "auto"}, "/training/class_weights", "expected 'balanced', or a list, or an object"),
        ({"class_weights": [1, -1]}, "/training/class_weights/1", "greater than or equal to 0"),
    ],
)
def test_every_member_of_a_union_is_named_and_the_place_of_the_fault_is_kept(
    training: dict[str, Any], pointer: str, told: str
) -> None:
    with pytest.raises(Invalid) as caught:
        parse_as(JOB_SPEC, json.dumps(train(training=training)).encode())
    (problem,) = caught.value.problems or ()
    assert problem.pointer == pointer
    assert told in problem.detail


def test_an_unknown_method_is_one_problem_not_also_a_list_too_short() -> None:
    document = distill(teachers=[{"model": MODEL}], distillation={"soft_targets": {"method": "kl"}})
    assert faults(document) == {"/distillation/soft_targets": "unknown_value"}


@pytest.mark.parametrize(
    ("document", "part"),
    [
        (distill(teachers=[MODEL]), 'found the id of a model: write {"model": "mdl_…"}'),
        (distill(teachers=[JOB]), 'found the id of a job: write {"job": "job_…"}'),
        (distill(datasets=[DATASET]), 'found the id of a dataset: write {"dataset": "ds_…"}'),
    ],
)
def test_an_id_in_place_of_an_object_is_named_with_the_object(document: dict[str, Any], part: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_as(JOB_SPEC, json.dumps(document).encode())
    assert caught.value.problems is not None
    assert any(part in problem.detail for problem in caught.value.problems)


@pytest.mark.parametrize("field", ["inputs", "outputs"])
@pytest.mark.parametrize("form", ["onnx", "safetensors"])
def test_a_graphs_name_with_other_characters_is_told_of_rename(form: str, field: str) -> None:
    manifest: dict[str, Any] = {"name": "m", "format": form, "outputs": {"y": {"kind": "class"}}}
    manifest[field] = {"Identity:0": {"kind": "class"} if field == "outputs" else {}}
    with pytest.raises(Invalid) as caught:
        parse_as(TypeAdapter(ModelManifest), json.dumps(manifest).encode())
    assert ('"rename": {"Identity:0": ' in caught.value.detail) is (form == "onnx")
    assert "write `_` for them" in caught.value.detail


def test_a_whole_number_is_an_integer_however_it_is_written() -> None:
    spec = train(training={"epochs": 3, "learning_rate": 1.0, "momentum": 0.5})
    written = json.dumps(spec).replace('"epochs": 3', '"epochs": 3.0').replace("[8]", "[8e0]")
    assert "3.0" in written
    assert parse_as(JOB_SPEC, written.encode()) == parse_as(JOB_SPEC, json.dumps(spec).encode())


@pytest.mark.parametrize("epochs", [3.5, 1e300, -1e300])
def test_a_number_that_is_not_whole_is_no_integer(epochs: float) -> None:
    assert faults(train(training={"epochs": epochs})) == {"/training/epochs": "wrong_type"}


def test_whole_numbers_are_no_errors_beside_others() -> None:
    assert faults(train(training={"epochs": 3.0}, labels=3.0)) == {"/labels": "wrong_type"}
