"""Pools of networks that differ in their seed alone: all on one split of their data, so that their test rows are equal.

Of two disjoint groups of one pool neither is better. Against `mnist` the networks of `mnist-wider` are better by about
0.8 points.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tests.benchmarks.accuracy.defaults.grid import PLAIN, RECIPE, Setting
from tests.benchmarks.accuracy.defaults.sets.data_set import DataSet
from tests.benchmarks.accuracy.defaults.sets.images import mnist_mlp
from tests.benchmarks.accuracy.defaults.sets.tabular import diabetes, digits_scaled

SPLIT = 0
"""Seed of the split of every scenario."""
WIDER = 44
"""Hidden width of the better networks; that of `mnist` is 32."""


@dataclass(frozen=True)
class Scenario:
    """Networks with these settings; their seeds are `first_seed` and those after it."""

    data: Callable[[], DataSet]
    setting: Setting
    first_seed: int = 0


def _wider() -> DataSet:
    return replace(mnist_mlp(), student={"family": "mlp", "hidden": [WIDER]})


SCENARIOS: Mapping[str, Scenario] = {
    "digits": Scenario(digits_scaled, RECIPE),
    "diabetes": Scenario(diabetes, RECIPE),
    "digits-plain": Scenario(digits_scaled, PLAIN),
    "mnist": Scenario(mnist_mlp, RECIPE),
    "mnist-wider": Scenario(_wider, RECIPE, first_seed=10_000),
}
"""mlp[16], mlp[8], mlp[16], mlp[32] and mlp[WIDER], by the recipe; `digits-plain` by the plain settings."""
