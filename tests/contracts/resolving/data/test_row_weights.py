"""Row weights that a job names are checked against its datasets, its labels and the methods of its terms."""

from typing import Any

import pytest

from app.contracts.resolving.data.joining import joined_facts
from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts, TargetFacts
from app.contracts.resources.statistics import WeightStatistics
from app.contracts.specs.jobs import DatasetRef, MultitaskJob
from tests.contracts.resolving.test_resolve import DISTILL, SPLITS, TRAIN, codes, dataset, resolved

DIGITS = TargetFacts(kind="class", size=10, labelled=SPLITS)
NONE = TargetFacts(kind="class", size=10, labelled={})
SIZE = TargetFacts(kind="value", size=1, labelled=SPLITS)


def statistics(total: float = 70.0, rows: int = 70, **changes: Any) -> WeightStatistics:
    facts: dict[str, Any] = {"rows": rows, "zeros": 0, "minimum": 1.0, "maximum": 1.0, "sum": total, "effective": rows}
    return WeightStatistics.model_validate({**facts, **changes}, strict=False)


def weighted(**targets: TargetFacts) -> DatasetFacts:
    weights = {"w": {"train": statistics()}, "v": {"train": statistics()}, "nothing": {"train": statistics(0.0)}}
    return dataset(**targets).model_copy(update={"weights": weights})


def test_names_that_the_dataset_has_not_and_weights_of_nothing_are_refused() -> None:
    data = weighted(digit=DIGITS)
    for name, code in (("w", None), ("x", "unknown_row_weights"), ("nothing", "weights_sum_to_zero")):
        found = resolved(TRAIN | {"training": {"row_weights": name}}, data)
        assert codes(found) == ({("/training/row_weights", code)} if code else set())
    (problem,) = resolved(TRAIN | {"training": {"row_weights": "x"}}, data).problems
    assert "`v`" in problem.detail
    assert "`w`" in problem.detail


def test_a_task_has_the_weights_of_the_job_unless_it_names_its_own() -> None:
    tasks = [{"name": "digit"}, {"name": "size", "row_weights": "v"}]
    spec = {"kind": "multitask", "student": {"family": "mlp"}, "tasks": tasks, "training": {"row_weights": "w"}}
    found = resolved(spec, weighted(digit=DIGITS, size=SIZE))
    assert not found.problems
    assert isinstance(found.spec, MultitaskJob)
    assert [task.row_weights for task in found.spec.tasks] == ["w", "v"]
    wrong = {**spec, "tasks": [{"name": "digit"}, {"name": "size", "row_weights": "x"}]}
    assert codes(resolved(wrong, weighted(digit=DIGITS, size=SIZE))) == {
        ("/tasks/1/row_weights", "unknown_row_weights")
    }


@pytest.mark.parametrize(("method", "refused"), [("kd", False), ("dkd", False), ("dist", True)])
def test_a_method_that_compares_rows_is_refused_row_weights_by_name(method: str, refused: bool) -> None:
    spec = DISTILL | {"distillation": {"soft_targets": {"method": method, "row_weights": "w"}}}
    found = resolved(spec, weighted(digit=DIGITS))
    place = ("/distillation/soft_targets/0/row_weights", "row_weights_undefined")
    assert codes(found) == ({place} if refused else set())
    assert all("`dist`" in problem.detail for problem in found.problems)


def test_weights_of_the_loss_on_labels_need_labels() -> None:
    found = resolved(DISTILL | {"training": {"row_weights": "w"}}, weighted(digit=NONE))
    assert ("/training/row_weights", "labels_needed") in codes(found)


def test_joined_datasets_have_the_weights_that_all_of_them_have_with_pooled_statistics() -> None:
    first, second = weighted(digit=DIGITS), weighted(digit=DIGITS)
    part = statistics(10.0, rows=4, zeros=2, minimum=0.0, maximum=5.0, effective=2.0)
    second = second.model_copy(update={"weights": {"w": {"train": part}}})
    refs = [DatasetRef(dataset=f"ds_01890a5d-ac96-774b-bcce-b302099a805{i}") for i in (7, 8)]
    facts = joined_facts(refs, {refs[0].dataset: first, refs[1].dataset: second}, Findings())
    assert facts is not None
    assert set(facts.weights) == {"w"}
    pooled = facts.weights["w"]["train"]
    assert (pooled.rows, pooled.zeros, pooled.minimum, pooled.maximum, pooled.sum) == (74, 2, 0.0, 5.0, 80.0)
    assert pooled.effective == pytest.approx(80.0**2 / (70.0 + 50.0))
