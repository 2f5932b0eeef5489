"""What a data set of the benchmark consists of, and its random splits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests.engine.harness import Arrays

Json = dict[str, Any]
Metric = Literal["accuracy", "rmse", "auroc", "macro_f1"]
Standardize = bool | None
"""`standardize` of the input: None as the numbers ask (the default), False raw, True for each column."""
SHARES = {"train": 0.64, "validation": 0.16, "test": 0.2}


@dataclass(frozen=True)
class Screening:
    """How candidates of the grid are screened: by so many seeds; the best `finalists` are compared with the recipe."""

    seeds: int
    finalists: int


LONG, USUAL, SHORT = Screening(4, 3), Screening(2, 2), Screening(1, 1)


@dataclass(frozen=True)
class DataSet:
    """A data set with its student. `arrays(seed)` has the rows, their targets and the column `split` of one split."""

    name: str
    arrays: Callable[[int], Arrays]
    student: Json
    metric: Metric
    targets: Mapping[str, Json]
    origin: str
    """Where the rows come from, for the table."""
    input: Json | None = None
    """Fields of the input in the manifest, besides its kind and `standardize`."""
    seeds: int = 5
    """Seeds of split and training; more where the test split is small and a job takes a second."""
    screening: Screening = USUAL
    training: Json | None = None
    """Settings of training that every job has, such as the metric by which epochs are selected."""
    standardizations: tuple[Standardize, ...] = ()
    """Other ways to standardise than the default that the grid tries."""

    @property
    def is_stackable(self) -> bool:
        """Whether many students train as one step: without BatchNorm."""
        return self.student["family"] in ("mlp", "transformer")

    @property
    def is_error(self) -> bool:
        """Whether a lower metric is better."""
        return self.metric == "rmse"

    def manifest(self, standardize: Standardize) -> Json:
        """Fields of the dataset's manifest."""
        x = {"kind": "array", "standardize": standardize, **(self.input or {})}
        return {"inputs": {"x": x}, "targets": dict(self.targets), "splits": {"column": "split"}}


def split_column(rows: int, seed: int, shares: Mapping[str, float] = SHARES) -> NDArray[np.str_]:
    """`train`, `validation` or `test` for each row, at random from the seed: text [rows]."""
    order = np.random.default_rng(seed).permutation(rows)
    ends = np.round(np.cumsum(list(shares.values())) * rows).astype(int)
    split = np.full(rows, "train", dtype="<U10")
    for name, begin, end in zip(shares, (0, *ends), ends, strict=False):
        split[order[begin:end]] = name
    return split


def with_splits(x: NDArray[Any], targets: Arrays, shares: Mapping[str, float] = SHARES) -> Callable[[int], Arrays]:
    """`arrays` of a data set whose rows are the same in every split."""
    return lambda seed: {"x": x, **targets, "split": split_column(len(x), seed, shares)}


def without_labels(arrays: Arrays, target: str, share: float) -> Arrays:
    """The same rows; of the training rows only a `share` keep their class (the first: their order is random)."""
    train = np.random.default_rng(0).permutation(np.flatnonzero(arrays["split"] == "train"))
    labels = arrays[target].copy()
    labels[train[round(share * len(train)) :]] = -1
    return {**arrays, target: labels}
