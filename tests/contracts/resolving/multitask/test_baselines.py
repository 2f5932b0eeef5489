"""Problems and warnings at the submission of a job with single-task baselines."""

from typing import Any

from app.contracts.resources.facts import DatasetFacts, TargetFacts
from app.contracts.specs.jobs import MultitaskJob
from tests.contracts.resolving.test_resolve import MULTITASK, SPLITS, TEACHER, TWO, dataset, resolved, warned


def chosen(spec: dict[str, Any], data: DatasetFacts) -> bool | None:
    found = resolved(spec, data)
    assert isinstance(found.spec, MultitaskJob)
    assert not found.problems
    assert not {"no_baseline", "no_test_split"} & warned(found)
    return found.spec.baselines


def test_baselines_are_trained_by_default_where_several_tasks_have_labels_and_a_test_split() -> None:
    side = TargetFacts(kind="class", size=2, labelled=SPLITS)
    taught = {"name": "digit", "teachers": [{"model": TEACHER}]}
    one = {"kind": "multitask", "tasks": [{"name": "side"}], "student": {"family": "mlp"}}
    untested = TWO.model_copy(update={"splits": {"train": 70, "validation": 30}})
    assert chosen(MULTITASK, TWO) is True
    assert chosen({**MULTITASK, "baselines": False}, TWO) is False
    assert chosen(MULTITASK, untested) is False
    assert chosen(one, dataset(side=side)) is False
    assert chosen({**one, "tasks": [{"name": "side"}, taught]}, dataset(side=side)) is False


def test_a_task_without_labels_is_reported_to_have_no_baseline() -> None:
    side = TargetFacts(kind="class", size=2, labelled=SPLITS)
    tasks = [{"name": "side"}, {"name": "digit", "teachers": [{"model": TEACHER}]}]
    spec = {"kind": "multitask", "tasks": tasks, "student": {"family": "mlp"}, "baselines": True}
    found = resolved(spec, dataset(side=side))
    assert not found.problems
    (message,) = [warning["message"] for warning in found.warnings if warning["code"] == "no_baseline"]
    assert "`digit`" in message
    assert "`side`" not in message
    assert "no_baseline" not in warned(resolved({**spec, "baselines": False}, dataset(side=side)))


def test_without_a_test_split_it_is_reported_that_nothing_will_be_compared() -> None:
    untested = TWO.model_copy(update={"splits": {"train": 70, "validation": 30}})
    assert "no_test_split" in warned(resolved({**MULTITASK, "baselines": True}, untested))
    assert "no_test_split" not in warned(resolved({**MULTITASK, "baselines": True}, TWO))
