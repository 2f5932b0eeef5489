"""How tasks share is checked at submission, and a resolved spec says it in full."""

import json
from typing import Any

import pytest

from app.contracts.layouts.summary import flops, layers, parameter_count
from app.contracts.resolving.resolve import Resolution
from app.contracts.resources.facts import ModelFacts, OutputFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput, InputTransform
from app.contracts.specs.jobs import JOB_SPEC, MultitaskJob
from app.http.errors import Invalid
from app.http.validation import parse_as
from tests.contracts.resolving.test_resolve import DS, SPLITS, TEACHER, TRAIN, codes, dataset, resolved
from tests.engine.models.sharing.networks import parsed

Json = dict[str, Any]
TASKS = ("left", "right", "total")
DATA = dataset(**{name: TargetFacts(kind="class", size=3, labelled=SPLITS) for name in TASKS})
GROUPS: Json = {"method": "trunks", "groups": [["total", "left"], ["right"]]}
MLP: Json = {"family": "mlp", "hidden": [6, 4]}
CONVNET: Json = {"family": "convnet", "channels": [3, 4]}
RESNET: Json = {"family": "resnet", "depth": 8}
TRANSFORMER: Json = {"family": "transformer", "input_shape": [8, 8], "width": 8}


def shared(
    sharing: Any, student: Json = MLP, models: dict[str, ModelFacts | None] | None = None, **changes: Any
) -> Resolution:
    tasks = [{"name": name} for name in TASKS]
    spec = {"kind": "multitask", "tasks": tasks, "student": {**student, "sharing": sharing}, **changes}
    return resolved(spec, DATA, models)


def student_of(found: Resolution) -> Any:
    assert not found.problems, found.problems
    assert isinstance(found.spec, MultitaskJob)
    return found.spec.student


@pytest.mark.parametrize("student", [MLP, CONVNET, RESNET, TRANSFORMER], ids=lambda spec: spec["family"])
@pytest.mark.parametrize("sharing", ["hard", "cross_stitch", "mmoe", "cgc", GROUPS], ids=str)
def test_a_scheme_is_defined_for_every_family(sharing: Any, student: Json) -> None:
    found = student_of(shared(sharing, student))
    assert parameter_count(found) > 0
    assert flops(found) > 0


@pytest.mark.parametrize("student", [MLP, CONVNET, RESNET, TRANSFORMER], ids=lambda spec: spec["family"])
def test_mtan_is_defined_for_convolutional_trunks_and_refused_for_others(student: Json) -> None:
    found = shared("mtan", student)
    refused = student["family"] in ("mlp", "transformer")
    assert codes(found) == ({("/student/sharing", "sharing_undefined")} if refused else set())
    if refused:
        assert "convnet" in found.problems[0].detail


def test_a_resolved_spec_says_how_tasks_share_in_one_way_and_in_full() -> None:
    """Trap: JSON keeps no order of an object's keys, so the order of a stitch's rows is a field of its own."""
    written = {
        "hard": ["hard", {"method": "hard"}],
        "cross_stitch": ["cross_stitch", {"method": "cross_stitch", "own": 0.9}],
        "mmoe": ["mmoe", {"method": "mmoe", "experts": 4}],
        "cgc": ["cgc", {"method": "cgc"}, {"method": "cgc", "shared": 1, "own": 1}],
    }
    conflicts = {}
    for name, ways in written.items():
        found = [student_of(shared(way)).model_dump(mode="json")["sharing"] for way in ways]
        assert all(each == found[0] for each in found)
        conflicts[name] = found[0]
    assert conflicts == {
        "hard": "hard",
        "cross_stitch": {"method": "cross_stitch", "own": 0.9, "towers": list(TASKS)},
        "mmoe": {"method": "mmoe", "experts": 4},
        "cgc": {"method": "cgc", "shared": 1, "own": 1},
    }


def test_the_towers_of_a_job_are_its_tasks_in_any_order() -> None:
    towers = ["total", "right", "left"]
    assert student_of(shared({"method": "cross_stitch", "towers": towers})).sharing.towers == tuple(towers)


@pytest.mark.parametrize(
    ("sharing", "place"),
    [
        ({"method": "trunks", "groups": [["left", "right"]]}, "groups"),
        ({"method": "trunks", "groups": [["left", "right"], ["total", "left"]]}, "groups"),
        ({"method": "trunks", "groups": [["left", "right"], ["total"], ["other"]]}, "groups"),
        ({"method": "cross_stitch", "towers": ["left", "right"]}, "towers"),
        ({"method": "cross_stitch", "towers": ["left", "right", "total", "total"]}, "towers"),
        ({"method": "cross_stitch", "towers": ["left", "right", "total", "other"]}, "towers"),
    ],
)
def test_groups_and_towers_name_each_task_exactly_once(sharing: Json, place: str) -> None:
    found = shared(sharing)
    assert codes(found) == {(f"/student/sharing/{place}", "sharing_mismatch")}
    assert "`left`, `right`, `total`" in found.problems[0].detail


@pytest.mark.parametrize(
    ("sharing", "place", "code"),
    [
        ("mix", "", "unknown_value"),
        ("trunks", "", "unknown_value"),
        (5, "", "unknown_value"),
        ({"method": "mix"}, "", "unknown_value"),
        ({"experts": 2}, "", "missing"),
        ({"method": "mmoe", "experts": 0}, "/experts", "out_of_range"),
        ({"method": "mmoe", "experts": 33}, "/experts", "out_of_range"),
        ({"method": "mmoe", "expert": 3}, "/expert", "unknown_field"),
        ({"method": "cross_stitch", "own": 1.5}, "/own", "out_of_range"),
        ({"method": "trunks"}, "/groups", "missing"),
        ({"method": "trunks", "groups": [["left"], []]}, "/groups/1", "too_short"),
    ],
)
def test_what_is_no_sharing_is_reported_once_and_by_its_place(sharing: Any, place: str, code: str) -> None:
    """Trap: of a union every branch complains, also the one that was not meant."""
    spec = {"kind": "multitask", "dataset": DS, "tasks": [{"name": "left"}], "student": {**MLP, "sharing": sharing}}
    with pytest.raises(Invalid) as caught:
        parse_as(JOB_SPEC, json.dumps(spec).encode())
    assert [(each.pointer, each.code) for each in caught.value.problems or ()] == [(f"/student/sharing{place}", code)]


@pytest.mark.parametrize("sharing", ["cross_stitch", "mmoe", "cgc", GROUPS], ids=str)
def test_a_trunk_without_layers_is_none_to_share_otherwise(sharing: Any) -> None:
    assert codes(shared(sharing, {"family": "mlp"})) == {("/student/sharing", "sharing_undefined")}


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({**TRAIN, "model": {**MLP, "sharing": "mmoe"}}, "/model/sharing"),
        (
            {"kind": "distill", "teachers": [{"model": TEACHER}], "student": {**MLP, "sharing": "cgc"}},
            "/student/sharing",
        ),
        (
            {"kind": "multitask", "tasks": [{"name": "digit"}], "student": {**CONVNET, "sharing": "mtan"}},
            "/student/sharing",
        ),
    ],
)
def test_one_task_has_no_one_to_share_with(spec: Json, pointer: str) -> None:
    assert codes(resolved(spec)) == {(pointer, "sharing_needs_tasks")}


def test_more_tensors_than_an_inspection_reads_are_refused() -> None:
    deep = {"family": "resnet", "depth": 104}
    assert not shared({"method": "mmoe", "experts": 16}, deep).problems
    found = shared({"method": "mmoe", "experts": 32}, {"family": "resnet", "depth": 200})
    assert codes(found) == {("/student/sharing", "sharing_too_large")}


def one_of_ours(sharing: Any = "hard", outputs: tuple[str, ...] = TASKS) -> dict[str, ModelFacts | None]:
    architecture = parsed({**MLP, "input_shape": [64], "outputs": dict.fromkeys(outputs, 3), "sharing": sharing})
    facts = ModelFacts(
        architecture=architecture,
        input_shape=(64,),
        inputs={"x": InputTransform()},
        outputs={name: OutputFacts(spec=ClassOutput(kind="class"), size=3) for name in outputs},
        parameters=parameter_count(architecture),
        layers=layers(architecture),
    )
    return {TEACHER: facts}


def tasks_with_teachers(**distillation: Any) -> list[Json]:
    teachers = [{"model": TEACHER}]
    return [{"name": "left", "teachers": teachers, "distillation": distillation}, {"name": "right"}, {"name": "total"}]


@pytest.mark.parametrize(
    ("sharing", "layer", "refused"),
    [
        ("hard", "penultimate", False),
        ("mmoe", "penultimate", False),
        ("mmoe", "penultimate.left", False),
        ("mmoe", "penultimate.right", True),
        ("mmoe", "experts.0.layers.1", False),
        ("cgc", "experts.left.0.layers.1", False),
        ("cgc", "experts.right.0.layers.1", True),
        ("cross_stitch", "towers.right.layers.1", False),
        ("cross_stitch", "stitches.0", True),
        (GROUPS, "trunks.0.layers.1", False),
        (GROUPS, "trunks.1.layers.1", True),
    ],
)
def test_a_tasks_terms_tap_what_the_task_reaches(sharing: Any, layer: str, refused: bool) -> None:
    term = {"method": "fitnets", "teacher_layer": "penultimate", "student_layer": layer}
    found = shared(sharing, MLP, one_of_ours(), tasks=tasks_with_teachers(features=term))
    place = "/tasks/0/distillation/features/0/student_layer"
    assert codes(found) == ({(place, "unknown_layer")} if refused else set())


@pytest.mark.parametrize("theirs", ["hard", "mmoe"])
@pytest.mark.parametrize("ours", ["hard", "cgc"])
def test_simkd_is_about_what_each_heads_own_features_are(ours: str, theirs: str) -> None:
    models = one_of_ours(theirs)
    assert not shared(ours, MLP, models, tasks=tasks_with_teachers(features={"method": "simkd"})).problems
    wide = {"family": "mlp", "hidden": [6, 5]}
    found = shared(ours, wide, models, tasks=tasks_with_teachers(features={"method": "simkd"}))
    assert codes(found) == {("/tasks/0/distillation/features/0", "shape_mismatch")}


@pytest.mark.parametrize(
    ("sharing", "init", "refused"),
    [
        ("hard", {}, None),
        ("mmoe", {}, ("/student/init/layers", "layers_needed")),
        ("cross_stitch", {}, ("/student/init/layers", "layers_needed")),
        (GROUPS, {}, ("/student/init/layers", "layers_needed")),
        ("mmoe", {"layers": {"experts.0.layers.0": "layers.0"}}, None),
        (GROUPS, {"layers": {"trunks.0": "layers"}}, ("/student/init/layers", "shape_mismatch")),
        (GROUPS, {"layers": {"trunks.0.layers": "layers", "trunks.1.layers": "layers"}}, None),
        ("cgc", {"layers": {"layers.0": "layers.0"}}, ("/student/init/layers", "unknown_layer")),
    ],
)
def test_a_student_that_shares_otherwise_names_the_layers_that_it_starts_from(
    sharing: Any, init: Json, refused: tuple[str, str] | None
) -> None:
    """Trap: without names nothing but heads is called alike, which would read features that they do not know."""
    found = shared(sharing, {**MLP, "init": init}, one_of_ours(), tasks=tasks_with_teachers())
    assert refused in codes(found) if refused else not found.problems


def test_a_student_of_the_same_scheme_starts_from_its_teacher_without_names() -> None:
    assert not shared("mmoe", {**MLP, "init": {}}, one_of_ours("mmoe"), tasks=tasks_with_teachers()).problems


def test_a_misfit_is_reported_once_also_where_terms_and_a_start_look_at_layers() -> None:
    broken = {"method": "trunks", "groups": [["left", "nobody"]]}
    term = {"method": "fitnets", "teacher_layer": "penultimate", "student_layer": "penultimate"}
    found = shared(broken, {**MLP, "init": {}}, one_of_ours(), tasks=tasks_with_teachers(features=term))
    assert codes(found) == {("/student/sharing/groups", "sharing_mismatch")}
