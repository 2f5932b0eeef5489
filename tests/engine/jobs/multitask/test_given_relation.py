"""Jobs with a given task relation matrix R, applied by rows or by towers."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.balancing.relation.test_matrix import ASYMMETRIC, SHARES
from tests.engine.balancing.small_network import METHODS
from tests.engine.harness import EngineHarness, StopAtStep, report_of
from tests.engine.training.affinity.known_relations import estimating, planted
from tests.exhaustive import sample
from workers.engine.common.stop import Stopped

MULTITASK: dict[str, Any] = {
    "kind": "multitask",
    "tasks": [{"name": "label"}, {"name": "side"}, {"name": "size"}],
    "student": {"family": "mlp", "hidden": [16]},
    "training": {"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "select_by": "last"},
}
STITCHED: dict[str, Any] = {"family": "mlp", "hidden": [3], "activation": "tanh", "sharing": "cross_stitch"}


@pytest.mark.parametrize("method", sample(METHODS, ["fixed", "famo", "pcgrad", "gradnorm", "mgda"]))
def test_the_identity_equals_no_r_bit_for_bit(harness: EngineHarness, method: str) -> None:
    harness.dataset()
    spec = MULTITASK | {"balancing": {"method": method}}
    harness.run(spec | {"relation": {"matrix": np.eye(3).tolist()}}, "identity")
    harness.run(spec, "none")
    identity, none = harness.weights("identity"), harness.weights("none")
    assert identity.keys() == none.keys()
    assert all(torch.equal(identity[name], none[name]) for name in none)


def test_a_job_with_r_under_fixed_is_the_job_with_those_weights_bit_for_bit(harness: EngineHarness) -> None:
    harness.dataset()
    harness.run(MULTITASK | {"relation": {"matrix": ASYMMETRIC}}, "relation")
    weights = SHARES.sum(0).tolist()
    assert weights == [1.25, 0.75, 1.0]
    tasks = [each | {"weight": weight} for each, weight in zip(MULTITASK["tasks"], weights, strict=True)]
    harness.run(MULTITASK | {"tasks": tasks}, "weights")
    relation, weighted = harness.weights("relation"), harness.weights("weights")
    assert all(torch.equal(relation[name], weighted[name]) for name in weighted)


def test_under_pcgrad_r_changes_the_student_and_the_report_shows_it_with_rows_that_sum_to_one(
    harness: EngineHarness,
) -> None:
    harness.dataset()
    spec = MULTITASK | {"balancing": {"method": "pcgrad"}}
    report = report_of(harness.run(spec | {"relation": {"matrix": ASYMMETRIC}}, "with"))
    harness.run(spec, "without")
    assert report.relation is not None
    np.testing.assert_allclose(report.relation.matrix, SHARES)
    assert not torch.equal(harness.weights("with")["layers.0.weight"], harness.weights("without")["layers.0.weight"])


@pytest.mark.parametrize("balancing", ["fixed", "pcgrad", "uncertainty"])
def test_a_job_whose_towers_follow_an_estimate_is_resumed_bit_for_bit(harness: EngineHarness, balancing: str) -> None:
    planted(harness)
    relation = {"estimate": "first_order", "every": 2, "apply": "towers"}
    spec = estimating("", relation=relation, student=STITCHED, balancing={"method": balancing})
    harness.run(spec, "whole")
    with pytest.raises(Stopped):
        harness.run(spec, "broken", stop=StopAtStep(29))
    harness.run(spec, "broken", attempt=2)
    assert harness.digest("broken", attempt=2) == harness.digest("whole")
    harness.run({**spec, "relation": None}, "without")
    assert harness.digest("without") != harness.digest("whole")
