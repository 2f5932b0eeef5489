"""Relations that were planted are found, in the right direction."""

import pytest

from tests.engine.harness import EngineHarness, report_of
from tests.engine.training.affinity.known_relations import estimating, planted


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("method", ["gradient_cosine", "first_order", "tag"])
def test_planted_relations_are_found(harness: EngineHarness, method: str, seed: int) -> None:
    planted(harness, seed)
    spec = estimating(method)
    relation = report_of(harness.run(spec | {"training": spec["training"] | {"seed": seed}})).relation
    assert relation is not None
    assert relation.proposal is not None
    assert relation.grouping is not None
    a, b, c, d = relation.proposal.matrix
    assert min(a[1], b[0]) > 0.2, "two tasks that help each other"
    assert c == (0.0, 0.0, 1.0, 0.0), "one that competes for the bottleneck hears itself alone"
    assert max(a[2], b[2], d[2]) == 0.0, "and no other task is affected"
    assert {"c"} in [set(group) for group in relation.grouping.groups]
    if method != "gradient_cosine":  # which is symmetric, and cannot tell who helps whom
        assert d[0] / d[3] > 5.0 * a[3] / a[0], "one is helped, and helps next to nothing"
        assert ("a", "b") in relation.grouping.groups
        assert ("d",) in relation.grouping.groups
    assert relation.conflicts[0][2] is not None
    assert relation.conflicts[0][2] > 0.5
    assert (relation.source, relation.method) == ("estimated", method)
