"""The relation as a whole job sees it: estimated while it trains, by a first run, searched, lent teachers."""

from typing import Any

import pytest
import torch

from tests.engine.affinity.family import estimating, planted
from tests.engine.methods import TEACHER_SPEC
from tests.engine.workshop import SECOND, TEACHER, StopAtStep, Workshop, report_of
from workers.engine.common.stop import Stopped
from workers.engine.training.affinity import observer

Json = dict[str, Any]


def test_looking_at_gradients_changes_no_student(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with dropout and BatchNorm, whose masks and statistics a look must not touch."""
    workshop.dataset()
    spec: Json = {
        "kind": "multitask",
        "tasks": [{"name": "label"}, {"name": "side"}],
        "student": {"family": "mlp", "hidden": [8], "dropout": 0.3, "normalization": "batch"},
        "training": {"epochs": 3, "batch_size": 32},
    }
    workshop.run(spec, "rarely")
    monkeypatch.setattr(observer, "MIN_INTERVAL", 1)
    workshop.run(spec, "often")
    assert len(workshop.diary.series("gradient/label/norm")) > 10
    assert workshop.digest("rarely") == workshop.digest("often")


@pytest.mark.parametrize("balancing", ["fixed", "pcgrad"])
def test_a_student_whose_relation_follows_an_estimate_is_resumed_bit_for_bit(
    workshop: Workshop, balancing: str
) -> None:
    planted(workshop)
    spec = estimating("tag", balancing={"method": balancing})
    whole = report_of(workshop.run(spec, "whole")).relation
    with pytest.raises(Stopped):
        workshop.run(spec, "broken", stop=StopAtStep(31))
    again = report_of(workshop.run(spec, "broken", attempt=2)).relation
    assert workshop.digest("broken", attempt=2) == workshop.digest("whole")
    assert whole == again
    workshop.run({**spec, "relation": None}, "without")
    assert workshop.digest("without") != workshop.digest("whole")


def test_the_relation_over_time_is_told_in_metric_series(workshop: Workshop) -> None:
    planted(workshop)
    workshop.run(estimating("first_order"))
    shares = workshop.diary.series("relation/d/a")
    assert shares[0] == 0.0, "until there are enough measurements every task hears itself"
    assert shares[-1] is not None
    assert shares[-1] > 0.1
    assert len(workshop.diary.series("affinity/d/a")) == len(shares)
    assert len(workshop.diary.series("gradient/a/b/cosine")) == len(shares)


@pytest.mark.parametrize("balancing", ["fixed", "uncertainty", "pcgrad", "mgda"])
def test_what_the_balancer_weighed_the_tasks_by_is_told_over_time_and_in_the_report(
    workshop: Workshop, balancing: str
) -> None:
    planted(workshop)
    spec = estimating("gradient_cosine", relation=None, balancing={"method": balancing})
    relation = report_of(workshop.run(spec)).relation
    assert relation is not None
    assert len(relation.weights) == len(relation.norms) == 4
    for name, mean in zip("abcd", relation.weights, strict=True):
        told = [value for value in workshop.diary.series(f"weight/{name}") if value is not None]
        assert told
        assert mean is not None
        assert min(told) <= mean <= max(told)
    if balancing == "fixed":
        assert relation.weights == (1.0, 1.0, 1.0, 1.0)


def test_what_one_job_measured_is_the_relation_of_the_next_as_it_stands(workshop: Workshop) -> None:
    planted(workshop)
    first = report_of(workshop.run(estimating("tag"), "first")).relation
    assert first is not None
    assert first.proposal is not None
    assert first.grouping is not None
    taken = report_of(workshop.run(estimating("tag", relation=first.proposal.model_dump(mode="json")), "next")).relation
    assert taken is not None
    assert [list(row) for row in taken.matrix] == [pytest.approx(row) for row in first.proposal.matrix]
    assert taken.source == "given"


def test_a_search_over_relations_selects_and_trains_the_winner_again(workshop: Workshop) -> None:
    planted(workshop)
    own, other = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], [[0, 0, 1, 0]] * 4
    tried: list[Json] = [{"matrix": own}, {"matrix": other}]
    spec = estimating("tag", relation={"search": tried}, balancing={"method": "pcgrad"})
    report = report_of(workshop.run(spec, "searched"))
    assert report.search is not None
    assert [trial.values for trial in report.search.trials] == [{"/relation": 0.0}, {"/relation": 1.0}]
    assert report.search.chosen == 0
    workshop.run({**spec, "relation": tried[0]}, "single")
    assert workshop.digest("searched") == workshop.digest("single")
    assert report.relation is not None
    assert report.relation.source == "searched"


def test_an_estimate_without_evidence_proposes_nothing_and_says_so(workshop: Workshop) -> None:
    planted(workshop)
    spec = estimating("tag", relation={"estimate": "tag", "every": 1000, "apply": "trunks"})
    report = report_of(workshop.run(spec))
    assert "relation_not_measured" in {warning["code"] for warning in report.warnings}
    assert report.relation is not None
    assert (report.relation.proposal, report.relation.grouping) == (None, None)


def test_what_the_submission_was_warned_of_stands_in_the_report_also_of_a_later_attempt(workshop: Workshop) -> None:
    planted(workshop)
    alike = {"groups": [["a", "b", "c", "d"]], "apply": "rows"}
    spec = estimating("tag", relation=alike, balancing={"method": "pcgrad"})
    with pytest.raises(Stopped):
        workshop.run(spec, stop=StopAtStep(9))
    report = report_of(workshop.run(spec, attempt=2, warnings=()))
    assert "relation_rank_one" in {warning["code"] for warning in report.warnings}


# Teachers lent by R


def lending(workshop: Workshop, relation: Json, **changes: Any) -> Json:
    """Two tasks on the same classes: `label`, and `again`, whose labels are the same but mostly missing."""
    workshop.dataset()
    for model, seed in ((TEACHER, 0), (SECOND, 7)):
        spec = TEACHER_SPEC | {"training": TEACHER_SPEC["training"] | {"seed": seed}}
        workshop.teacher(workshop.run(spec, f"teacher{seed}"), workshop.folder / f"teacher{seed}" / "attempt-1", model)
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


def test_r_of_teachers_says_who_teaches_whom_where_heads_agree(workshop: Workshop) -> None:
    spec = lending(workshop, LENT)
    report = report_of(workshop.run(spec, "lent"))
    assert report.spec["relation"]["agreeing"] == [[1], [0], []]
    workshop.run({**spec, "relation": None}, "without")
    workshop.run({**spec, "relation": {**APART, "apply": "teachers"}}, "apart")
    assert workshop.digest("apart") == workshop.digest("without"), "R = I lends nobody"
    mean = [{"model": TEACHER, "weight": 0.5}, {"model": SECOND, "weight": 0.5}]
    tasks = [{**spec["tasks"][0], "teachers": mean}, *spec["tasks"][1:]]
    workshop.run({**spec, "tasks": tasks, "relation": None}, "by hand")
    assert workshop.digest("lent") == workshop.digest("by hand"), "R_01 is the weight of task 1's teacher in task 0"


def test_a_task_without_a_teacher_borrows_one(workshop: Workshop) -> None:
    spec = lending(workshop, LENT)
    tasks = [{"name": "label"}, *spec["tasks"][1:]]
    workshop.run({**spec, "tasks": tasks}, "borrowed")
    assert workshop.diary.series("train/label/kd")
    workshop.run({**spec, "tasks": tasks, "relation": None}, "alone")
    assert not workshop.diary.series("train/label/kd")


def test_a_first_run_measures_before_teachers_are_lent(workshop: Workshop) -> None:
    planted(workshop)
    teacher: Json = {"kind": "train", "target": "a", "model": {"family": "mlp", "hidden": [16]}}
    workshop.teacher(workshop.run(teacher, "teacher"), workshop.folder / "teacher" / "attempt-1")
    tasks = [{"name": "a", "teachers": [{"model": TEACHER}]}, *({"name": name} for name in "bcd")]
    estimate = {"estimate": "tag", "every": 1, "probe": 0.5, "apply": "teachers"}
    spec = estimating("tag", tasks=tasks, relation=estimate, control=False)
    relation = report_of(workshop.run(spec, "probed")).relation
    assert relation is not None
    assert relation.source == "estimated"
    assert relation.matrix[1][0] > 0.1, "a helps b"
    assert relation.matrix[2][0] == 0.0, "a does not help c"
    assert workshop.diary.series("train/b/mse"), "b borrows the teacher of a"
    assert not workshop.diary.series("train/c/mse")
    given = {"matrix": [list(row) for row in relation.matrix], "apply": "teachers"}
    workshop.run({**spec, "relation": given}, "given")
    found, expected = workshop.weights("probed"), workshop.weights("given")
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)


@pytest.mark.parametrize("polls", [3, 14])
def test_a_first_run_that_was_interrupted_is_not_made_twice_and_ends_the_same(workshop: Workshop, polls: int) -> None:
    spec = lending(workshop, {"estimate": "tag", "every": 1, "probe": 0.5})
    workshop.run(spec, "whole")
    with pytest.raises(Stopped):
        workshop.run(spec, "broken", stop=StopAtStep(polls))
    workshop.run(spec, "broken", attempt=2)
    assert workshop.digest("broken", attempt=2) == workshop.digest("whole")


# Trunks


def test_groups_are_trunks_of_the_student(workshop: Workshop) -> None:
    planted(workshop)
    groups = [["a", "b"], ["c"], ["d"]]
    spec = estimating("tag", relation={"groups": groups})
    workshop.run(spec, "related")
    student = {**spec["student"], "sharing": {"method": "trunks", "groups": groups}}
    workshop.run({**spec, "relation": None, "student": student}, "by hand")
    assert workshop.digest("related") == workshop.digest("by hand")
    workshop.run({**spec, "relation": None}, "shared")
    assert workshop.weights("shared").keys() != workshop.weights("related").keys()


def test_tasks_that_share_nothing_have_gradients_that_are_not_compared(workshop: Workshop) -> None:
    planted(workshop)
    apart = {"groups": [[name] for name in "abcd"]}
    relation = report_of(workshop.run(estimating("tag", relation=apart))).relation
    assert relation is not None
    assert (relation.measured, relation.proposal) == (0, None)
    assert relation.matrix[0] == (1.0, 0.0, 0.0, 0.0)


def test_a_first_run_finds_the_groups_that_get_trunks(workshop: Workshop) -> None:
    planted(workshop)
    spec = estimating("tag", relation={"estimate": "tag", "every": 1, "probe": 1.0, "apply": "trunks"})
    report = report_of(workshop.run(spec, "probed"))
    assert report.relation is not None
    assert report.relation.grouping is not None
    groups = [list(group) for group in report.relation.grouping.groups]
    assert groups == [["a", "b"], ["c"], ["d"]]
    workshop.run({**spec, "relation": {"groups": groups}}, "given")
    assert workshop.digest("probed") == workshop.digest("given")
    taken = report.relation.grouping.model_dump(mode="json")
    workshop.run({**spec, "relation": taken}, "taken")
    assert workshop.digest("taken") == workshop.digest("given"), "a former job's groups are reproduced"


def test_a_search_over_who_shares_a_trunk_trains_the_winner_again(workshop: Workshop) -> None:
    planted(workshop)
    tried: list[Json] = [{"groups": [["a", "b", "c", "d"]]}, {"groups": [["a", "b"], ["c"], ["d"]]}]
    report = report_of(workshop.run(estimating("tag", relation={"search": tried}), "searched"))
    assert report.search is not None
    assert report.search.chosen == 1, "one unit is too few for tasks that compete"
    workshop.run(estimating("tag", relation=tried[1]), "single")
    assert workshop.digest("searched") == workshop.digest("single")
