"""A relation is checked at submission: its form, what it can act on, and whether it has an effect."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from app.contracts.resolving.resolve import resolve
from app.contracts.resources.facts import ModelFacts, OutputFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput, ValueOutput
from app.contracts.specs.jobs import JOB_SPEC, MultitaskJob
from app.contracts.specs.relations import AppliedRelation, GroupsRelation, MatrixRelation
from app.contracts.specs.sharing import TrunksSharing
from app.http.validation import problems_of
from app.jobs.submission import dry_run
from tests.contracts.resolving.test_resolve import DS, SPLITS, TEACHER, codes, dataset, resolved, teacher, warned

Json = dict[str, Any]
DATA = dataset(
    left=TargetFacts(kind="class", size=10, labelled=SPLITS),
    right=TargetFacts(kind="class", size=10, labelled=SPLITS),
    total=TargetFacts(kind="value", size=1, labelled=SPLITS),
)
TASKS: list[Json] = [{"name": "left"}, {"name": "right"}, {"name": "total"}]
GROUPS: Json = {"groups": [["left", "right"], ["total"]]}


def spec(relation: Json, **changes: Any) -> Json:
    student = {"family": "mlp", "hidden": [16]}
    return {"kind": "multitask", "tasks": TASKS, "student": student, "relation": relation, **changes}


def faults(relation: Json) -> set[tuple[str, str]]:
    document = {"dataset": DS, **spec(relation)}
    with pytest.raises(ValidationError) as caught:
        JOB_SPEC.validate_json(json.dumps(document))
    return {(problem.pointer, problem.code) for problem in problems_of(caught.value, document)}


@pytest.mark.parametrize(
    ("relation", "fault"),
    [
        ({"matrix": [[1, -1, 0], [0, 1, 0], [0, 0, 1]]}, ("/relation/matrix/0/1", "out_of_range")),
        ({"matrix": [[0, 0, 0], [0, 1, 0], [0, 0, 1]]}, ("/relation", "invalid_value")),
        ({"matrix": [[1, 0, 0], [0, 1], [0, 0, 1]]}, ("/relation", "invalid_value")),
        ({"groups": [["left", "left"], ["right", "total"]]}, ("/relation", "duplicate_name")),
        ({"estimate": "luck"}, ("/relation/estimate", "unknown_value")),
        ({"estimate": "tag", "every": 0}, ("/relation/every", "out_of_range")),
        ({"search": [GROUPS]}, ("/relation/search", "too_short")),
        ({"search": [GROUPS, {"estimate": "tag"}]}, ("/relation/search/1", "unknown_value")),
        ({"apply": "rows"}, ("/relation", "missing")),
    ],
)
def test_a_relation_that_cannot_be_is_refused(relation: Json, fault: tuple[str, str]) -> None:
    assert fault in faults(relation)


@pytest.mark.parametrize(
    ("relation", "fault"),
    [
        ({"matrix": [[1, 0], [0, 1]]}, ("/relation/matrix", "size_mismatch")),
        ({"matrix": [[1] * 4] * 4, "apply": "trunks"}, ("/relation/matrix", "size_mismatch")),
        ({"groups": [["left", "right"]]}, ("/relation/groups", "unknown_task")),
        ({"groups": [["left", "right", "total", "more"]]}, ("/relation/groups", "unknown_task")),
        ({"search": [GROUPS, {"groups": [["left"]]}]}, ("/relation/search/1/groups", "unknown_task")),
    ],
)
def test_a_relation_of_other_tasks_is_refused_at_its_place(relation: Json, fault: tuple[str, str]) -> None:
    assert codes(resolved(spec(relation), DATA)) == {fault}


def test_a_share_that_the_service_raises_is_reported() -> None:
    found = resolved(spec({"matrix": [[0, 1, 0], [0, 1, 0], [0, 0, 1]]}, balancing={"method": "pcgrad"}), DATA)
    assert "relation_diagonal" in warned(found)
    assert any("`left`" in warning["message"] for warning in found.warnings)


def test_one_trunk_for_all_is_no_relation_and_reported() -> None:
    assert "relation_without_effect" in warned(resolved(spec({"groups": [["left", "right", "total"]]}), DATA))


@pytest.mark.parametrize(
    "relation",
    [{"estimate": "tag", "apply": "trunks"}, {"search": [GROUPS, {"groups": [["left"], ["right", "total"]]}]}],
)
def test_parameters_are_not_reported_while_trunks_are_open(relation: Json) -> None:
    summary = dry_run(resolved(spec(relation), DATA))
    assert (summary.parameters, summary.flops) == (None, None)
    assert dry_run(resolved(spec(GROUPS), DATA)).parameters is not None


def test_how_a_relation_acts_by_itself_is_stated_for_each_form() -> None:
    eye = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    forms: list[Json] = [{"matrix": eye}, GROUPS, {"estimate": "tag"}]
    parsed = [JOB_SPEC.validate_json(json.dumps({"dataset": DS, **spec(form)})) for form in forms]
    relations = [job.relation for job in parsed if isinstance(job, MultitaskJob)]
    found = [relation.apply for relation in relations if isinstance(relation, AppliedRelation)]
    assert found == ["rows", "trunks", "rows"]


def test_groups_by_rows_that_do_nothing_under_fixed_are_warned_of() -> None:
    found = resolved(spec({"groups": [["left", "right", "total"]], "apply": "rows"}), DATA)
    assert "relation_without_effect" in warned(found)


def test_every_candidate_of_a_search_is_looked_at() -> None:
    tried = [{"matrix": [[1, 1, 1]] * 3}, {**GROUPS, "apply": "teachers"}]
    found = resolved(spec({"search": tried}), DATA)
    assert "relation_without_effect" in warned(found)
    assert ("/relation/search/1/apply", "no_teachers") in codes(found)


def tasks_and_teachers(*outputs: OutputFacts | None) -> tuple[list[Json], dict[str, ModelFacts | None]]:
    """Tasks with a teacher of each output (None: without), and the teachers' facts."""
    tasks, models = [], dict[str, ModelFacts | None]()
    for task, output, digit in zip(TASKS, outputs, "123", strict=True):
        if output is None:
            tasks.append(task)
            continue
        model = f"{TEACHER[:-1]}{digit}"
        models[model] = teacher().model_copy(update={"outputs": {task["name"]: output}})
        tasks.append({**task, "teachers": [{"model": model}]})
    return tasks, models


TEN = OutputFacts(spec=ClassOutput(kind="class"), size=10)
ONE = OutputFacts(spec=ValueOutput(kind="value"), size=1)


def test_who_may_lend_a_teacher_is_who_puts_out_what_the_head_does() -> None:
    tasks, models = tasks_and_teachers(TEN, TEN, ONE)
    found = resolved(spec({**GROUPS, "apply": "teachers"}, tasks=tasks), DATA, models)
    assert not found.problems
    assert isinstance(found.spec, MultitaskJob)
    assert isinstance(found.spec.relation, GroupsRelation)
    assert found.spec.relation.agreeing == ((1,), (0,), ())
    again = resolve(found.spec, {DS: DATA}, models, threads=2)
    assert again.spec == found.spec, "a resolved job is resolved to itself"


def test_teachers_that_fit_no_other_head_are_warned_of() -> None:
    tasks, models = tasks_and_teachers(TEN, None, ONE)
    tasks[1] = {**tasks[1], "name": "count", "target": "total"}
    found = resolved(spec({"matrix": [[1, 1], [1, 1]], "apply": "teachers"}, tasks=tasks[:2]), DATA, models)
    assert not found.problems
    assert "relation_without_effect" in warned(found)


def test_a_relation_is_measured_between_tasks() -> None:
    found = resolved(spec({"estimate": "tag"}, tasks=TASKS[:1]), DATA)
    assert ("/relation", "too_few_tasks") in codes(found)


def test_what_the_client_says_of_agreeing_heads_is_overwritten() -> None:
    tasks, models = tasks_and_teachers(TEN, TEN, ONE)
    relation = {"matrix": [[1, 1, 1]] * 3, "apply": "teachers", "agreeing": [[2], [2], [0]]}
    found = resolved(spec(relation, tasks=tasks), DATA, models)
    assert isinstance(found.spec, MultitaskJob)
    assert isinstance(found.spec.relation, MatrixRelation)
    assert found.spec.relation.agreeing == ((1,), (0,), ())


def test_groups_give_the_student_a_trunk_each_and_the_resolution_stands() -> None:
    found = resolved(spec(GROUPS), DATA)
    assert not found.problems
    assert isinstance(found.spec, MultitaskJob)
    assert found.spec.student.sharing == TrunksSharing(method="trunks", groups=(("left", "right"), ("total",)))
    again = resolve(found.spec, {DS: DATA}, {}, threads=2)
    assert (again.spec, again.problems) == (found.spec, ())


def test_tasks_that_all_teach_each_other_share_one_trunk() -> None:
    found = resolved(spec({"groups": [["left", "right", "total"]]}), DATA)
    assert isinstance(found.spec, MultitaskJob)
    assert found.spec.student.sharing == "hard"


@pytest.mark.parametrize("relation", [GROUPS, {"estimate": "tag", "apply": "trunks"}])
def test_trunks_by_the_relation_and_another_scheme_of_sharing_are_one_too_many(relation: Json) -> None:
    student = {"family": "mlp", "hidden": [16], "sharing": "mmoe"}
    found = resolved(spec(relation, student=student), DATA)
    assert ("/relation/apply", "sharing_taken") in codes(found)


def test_towers_are_driven_where_there_are_towers() -> None:
    relation = {"matrix": [[1, 1, 0], [0, 1, 0], [0, 0, 1]], "apply": "towers"}
    assert ("/relation/apply", "no_towers") in codes(resolved(spec(relation), DATA))
    stitched = {"family": "mlp", "hidden": [16], "sharing": "cross_stitch"}
    assert not resolved(spec(relation, student=stitched), DATA).problems
