"""The relation as a whole job sees it: estimated while it trains, by a first run, searched, lent teachers."""

from typing import Any

import pytest
import torch

from tests.engine.harness import SECOND, TEACHER, EngineHarness, StopAtStep, report_of
from tests.engine.jobs.distillation.method_specs import TEACHER_SPEC
from tests.engine.training.affinity.known_relations import estimating, planted
from workers.engine.common.stop import Stopped
from workers.engine.training.affinity import observer

Json = dict[str, Any]


def test_looking_at_gradients_changes_no_student(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with dropout and BatchNorm, whose masks and statistics a look must not touch."""
    harness.dataset()
    spec: Json = {
        "kind": "multitask",
        "tasks": [{"name": "label"}, {"name": "side"}],
        "student": {"family": "mlp", "hidden": [8], "dropout": 0.3, "normalization": "batch"},
        "training": {"epochs": 3, "batch_size": 32},
    }
    harness.run(spec, "rarely")
    monkeypatch.setattr(observer, "MIN_INTERVAL", 1)
    harness.run(spec, "often")
    assert len(harness.log.series("gradient/label/norm")) > 10
    assert harness.digest("rarely") == harness.digest("often")


@pytest.mark.parametrize("balancing", ["fixed", "pcgrad"])
def test_a_student_whose_relation_follows_an_estimate_is_resumed_bit_for_bit(
    harness: EngineHarness, balancing: str
) -> None:
    planted(harness)
    spec = estimating("tag", balancing={"method": balancing})
    whole = report_of(harness.run(spec, "whole")).relation
    with pytest.raises(Stopped):
        harness.run(spec, "broken", stop=StopAtStep(31))
    again = report_of(harness.run(spec, "broken", attempt=2)).relation
    assert harness.digest("broken", attempt=2) == harness.digest("whole")
    assert whole == again
    harness.run({**spec, "relation": None}, "without")
    assert harness.digest("without") != harness.digest("whole")


def test_the_relation_over_time_is_reported_in_metric_series(harness: EngineHarness) -> None:
    planted(harness)
    harness.run(estimating("first_order"))
    shares = harness.log.series("relation/d/a")
    assert shares[0] == 0.0, "until there are enough measurements every task hears itself"
    assert shares[-1] is not None
    assert shares[-1] > 0.1
    assert len(harness.log.series("affinity/d/a")) == len(shares)
    assert len(harness.log.series("gradient/a/b/cosine")) == len(shares)


@pytest.mark.parametrize("balancing", ["fixed", "uncertainty", "pcgrad", "mgda"])
def test_what_the_balancer_weighed_the_tasks_by_is_reported_over_time_and_in_the_report(
    harness: EngineHarness, balancing: str
) -> None:
    planted(harness)
    spec = estimating("gradient_cosine", relation=None, balancing={"method": balancing})
    relation = report_of(harness.run(spec)).relation
    assert relation is not None
    assert len(relation.weights) == len(relation.norms) == 4
    for name, mean in zip("abcd", relation.weights, strict=True):
        values = [value for value in harness.log.series(f"weight/{name}") if value is not None]
        assert values
        assert mean is not None
        assert min(values) <= mean <= max(values)
    if balancing == "fixed":
        assert relation.weights == (1.0, 1.0, 1.0, 1.0)


def test_what_one_job_measured_is_the_relation_of_the_next_as_it_stands(harness: EngineHarness) -> None:
    planted(harness)
    first = report_of(harness.run(estimating("tag"), "first")).relation
    assert first is not None
    assert first.proposal is not None
    assert first.grouping is not None
    taken = report_of(harness.run(estimating("tag", relation=first.proposal.model_dump(mode="json")), "next")).relation
    assert taken is not None
    assert [list(row) for row in taken.matrix] == [pytest.approx(row) for row in first.proposal.matrix]
    assert taken.source == "given"


def test_a_search_over_relations_selects_and_trains_the_winner_again(harness: EngineHarness) -> None:
    planted(harness)
    own, other = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], [[0, 0, 1, 0]] * 4
    tried: list[Json] = [{"matrix": own}, {"matrix": other}]
    spec = estimating("tag", relation={"search": tried}, balancing={"method": "pcgrad"})
    report = report_of(harness.run(spec, "searched"))
    assert report.search is not None
    assert [trial.values for trial in report.search.trials] == [{"/relation": 0.0}, {"/relation": 1.0}]
    assert report.search.chosen == 0
    harness.run({**spec, "relation": tried[0]}, "single")
    assert harness.digest("searched") == harness.digest("single")
    assert report.relation is not None
    assert report.relation.source == "searched"


def test_an_estimate_without_evidence_proposes_nothing_and_says_so(harness: EngineHarness) -> None:
    planted(harness)
    spec = estimating("tag", relation={"estimate": "tag", "every": 1000, "apply": "trunks"})
    report = report_of(harness.run(spec))
    assert "relation_not_measured" in {warning["code"] for warning in report.warnings}
    assert report.relation is not None
    assert (report.relation.proposal, report.relation.grouping) == (None, None)


def test_what_the_submission_was_warned_of_stands_in_the_report_also_of_a_later_attempt(harness: EngineHarness) -> None:
    planted(harness)
    alike = {"groups": [["a", "b", "c", "d"]], "apply": "rows"}
    spec = estimating("tag", relation=alike, balancing={"method": "pcgrad"})
    with pytest.raises(Stopped):
        harness.run(spec, stop=StopAtStep(9))
    report = report_of(harness.run(spec, attempt=2, warnings=()))
    assert "relation_rank_one" in {warning["code"] for warning in report.warnings}


# Teachers lent by R


def lending(harness: EngineHarness, relation: Json, **changes: Any) -> Json:
    """Two tasks on the same classes: `label`, and `again`, whose labels are the same but mostly missing."""
    harness.dataset()
    for model, seed in ((TEACHER, 0), (SECOND, 7)):
        spec = TEACHER_SPEC | {"training": TEACHER_SPEC["training"] | {"seed": seed}}
        harness.teacher(harness.run(spec, f"teacher{seed}"), harness.folder / f"teacher{seed}" / "attempt-1", model)
    return {
        "kind": "multitask",
        "tasks": [
            {"name": "label", "teachers": [{"model": TEACHER}]},
            {"name": "again", "target": "label", "teachers": [{"model": SECOND}]},
            {"name": "side"},
        ],
        "student": {"family": "mlp", "hidden": [8]},
        "relation": {**relation, "apply": "teachers"},
        "training": {"epochs": 2, "batch_size": 32, "select_by": "last"},
        "control": False,
        **changes,
    }


APART: Json = {"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}
LENT: Json = {"matrix": [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]}


def test_r_of_teachers_says_who_teaches_whom_where_heads_agree(harness: EngineHarness) -> None:
    spec = lending(harness, LENT)
    report = report_of(harness.run(spec, "lent"))
    assert report.spec["relation"]["agreeing"] == [[1], [0], []]
    harness.run({**spec, "relation": None}, "without")
    harness.run({**spec, "relation": {**APART, "apply": "teachers"}}, "apart")
    assert harness.digest("apart") == harness.digest("without"), "R = I adds no teachers"
    mean = [{"model": TEACHER, "weight": 0.5}, {"model": SECOND, "weight": 0.5}]
    tasks = [{**spec["tasks"][0], "teachers": mean}, *spec["tasks"][1:]]
    harness.run({**spec, "tasks": tasks, "relation": None}, "by hand")
    assert harness.digest("lent") == harness.digest("by hand"), "R_01 is the weight of task 1's teacher in task 0"


def test_a_task_without_a_teacher_borrows_one(harness: EngineHarness) -> None:
    spec = lending(harness, LENT)
    tasks = [{"name": "label"}, *spec["tasks"][1:]]
    harness.run({**spec, "tasks": tasks}, "borrowed")
    assert harness.log.series("train/label/kd")
    harness.run({**spec, "tasks": tasks, "relation": None}, "alone")
    assert not harness.log.series("train/label/kd")


def test_a_first_run_measures_before_teachers_are_lent(harness: EngineHarness) -> None:
    planted(harness)
    teacher: Json = {"kind": "train", "target": "a", "model": {"family": "mlp", "hidden": [16]}}
    harness.teacher(harness.run(teacher, "teacher"), harness.folder / "teacher" / "attempt-1")
    tasks = [{"name": "a", "teachers": [{"model": TEACHER}]}, *({"name": name} for name in "bcd")]
    estimate = {"estimate": "tag", "every": 1, "probe": 0.5, "apply": "teachers"}
    spec = estimating("tag", tasks=tasks, relation=estimate, control=False)
    relation = report_of(harness.run(spec, "probed")).relation
    assert relation is not None
    assert relation.source == "estimated"
    assert relation.matrix[1][0] > 0.1, "a helps b"
    assert relation.matrix[2][0] == 0.0, "a does not help c"
    assert harness.log.series("train/b/mse"), "b borrows the teacher of a"
    assert not harness.log.series("train/c/mse")
    given = {"matrix": [list(row) for row in relation.matrix], "apply": "teachers"}
    harness.run({**spec, "relation": given}, "given")
    found, expected = harness.weights("probed"), harness.weights("given")
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)


@pytest.mark.parametrize("polls", [3, 14])
def test_a_first_run_that_was_interrupted_is_not_made_twice_and_ends_the_same(
    harness: EngineHarness, polls: int
) -> None:
    spec = lending(harness, {"estimate": "tag", "every": 1, "probe": 0.5})
    harness.run(spec, "whole")
    with pytest.raises(Stopped):
        harness.run(spec, "broken", stop=StopAtStep(polls))
    harness.run(spec, "broken", attempt=2)
    assert harness.digest("broken", attempt=2) == harness.digest("whole")


# Trunks


def test_groups_are_trunks_of_the_student(harness: EngineHarness) -> None:
    planted(harness)
    groups = [["a", "b"], ["c"], ["d"]]
    spec = estimating("tag", relation={"groups": groups})
    harness.run(spec, "related")
    student = {**spec["student"], "sharing": {"method": "trunks", "groups": groups}}
    harness.run({**spec, "relation": None, "student": student}, "by hand")
    assert harness.digest("related") == harness.digest("by hand")
    harness.run({**spec, "relation": None}, "shared")
    assert harness.weights("shared").keys() != harness.weights("related").keys()


def test_tasks_that_share_nothing_have_gradients_that_are_not_compared(harness: EngineHarness) -> None:
    planted(harness)
    apart = {"groups": [[name] for name in "abcd"]}
    relation = report_of(harness.run(estimating("tag", relation=apart))).relation
    assert relation is not None
    assert (relation.measured, relation.proposal) == (0, None)
    assert relation.matrix[0] == (1.0, 0.0, 0.0, 0.0)


def test_a_first_run_finds_the_groups_that_get_trunks(harness: EngineHarness) -> None:
    planted(harness)
    spec = estimating("tag", relation={"estimate": "tag", "every": 1, "probe": 1.0, "apply": "trunks"})
    report = report_of(harness.run(spec, "probed"))
    assert report.relation is not None
    assert report.relation.grouping is not None
    groups = [list(group) for group in report.relation.grouping.groups]
    assert groups == [["a", "b"], ["c"], ["d"]]
    harness.run({**spec, "relation": {"groups": groups}}, "given")
    assert harness.digest("probed") == harness.digest("given")
    taken = report.relation.grouping.model_dump(mode="json")
    harness.run({**spec, "relation": taken}, "taken")
    assert harness.digest("taken") == harness.digest("given"), "a former job's groups are reproduced"


def test_a_search_over_who_shares_a_trunk_trains_the_winner_again(harness: EngineHarness) -> None:
    planted(harness)
    tried: list[Json] = [{"groups": [["a", "b", "c", "d"]]}, {"groups": [["a", "b"], ["c"], ["d"]]}]
    report = report_of(harness.run(estimating("tag", relation={"search": tried}), "searched"))
    assert report.search is not None
    assert report.search.chosen == 1, "one unit is too few for tasks that compete"
    harness.run(estimating("tag", relation=tried[1]), "single")
    assert harness.digest("searched") == harness.digest("single")
