"""The settings that are compared: the plain ones, the recipe, and a grid around it at the recipe's steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.benchmarks.accuracy.defaults.sets.data_set import DataSet, Json, Standardize
from tests.engine.plain_training import plain_training

RATES = (3e-3, 1e-2, 2e-2, 4e-2)
USUAL_RATES = (1e-2, 2e-2)
DECAYS = (1e-2, 1e-1, 3e-1)
FIRST_SCREENING_SEED = 100
"""Of the grid's screening; those of the comparison begin at 0."""
_STANDARDIZED = {None: "by default", False: "raw", True: "columns"}


@dataclass(frozen=True)
class Setting:
    """Settings of training without seed, and how inputs are standardised."""

    name: str
    training: tuple[tuple[str, Any], ...]
    standardize: Standardize
    length: str = "recipe"
    """Settings of equal length have as many steps, and differ in rate and decay only."""

    def spec(self, seed: int) -> Json:
        """`training` of a job."""
        return {**dict(self.training), "seed": seed, "threads": 1}


def _setting(name: str, standardize: Standardize, **training: Any) -> Setting:
    return Setting(name, tuple(training.items()), standardize)


PLAIN = replace(_setting("plain", False, **plain_training()), length="plain")
RECIPE = _setting("recipe", None, recipe="default")


def grid(data: DataSet) -> list[Setting]:
    """Every rate with every decay, and usual ones with other ways to standardise; the rest, and the steps, are the
    recipe's. Of networks that train one after another every rate has one decay, and usual ones another.
    """
    return [
        _setting(
            f"rate {rate:g}, decay {decay:g}, {_STANDARDIZED[standardize]}",
            standardize,
            recipe="default",
            learning_rate=rate,
            weight_decay=decay,
        )
        for standardize, rate, decay in _values(data)
    ]


def _values(data: DataSet) -> list[tuple[Standardize, float, float]]:
    by_default = [(None, rate, decay) for rate in RATES for decay in (DECAYS if data.is_stackable else DECAYS[1:2])]
    if not data.is_stackable:
        by_default += [(None, rate, DECAYS[0]) for rate in USUAL_RATES]
    others = [(other, rate, DECAYS[0]) for other in data.standardizations for rate in USUAL_RATES]
    return by_default + others


def screening_seeds(data: DataSet) -> Sequence[int]:
    """Seeds by which candidates are screened."""
    return range(FIRST_SCREENING_SEED, FIRST_SCREENING_SEED + data.screening.seeds)
