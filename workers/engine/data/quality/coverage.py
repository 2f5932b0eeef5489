"""Validation and test splits without a frequent class of the training split, as those of a file sorted by class are."""

from collections.abc import Iterator
from math import log

import torch
from torch import Tensor

from app.contracts.problems import listed
from app.contracts.resources.columns import columns_of
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.splits import SplitName
from app.contracts.resources.statistics import DataWarning
from workers.engine.data.dataset import Dataset, TargetColumn

LOG_CHANCE = log(1e-3)
"""A class whose absence from a split by chance is likelier than this, over all classes, is not reported."""
_OTHERS: tuple[SplitName, ...] = ("validation", "test")


def coverage(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """`class_missing_in_split` for class targets, and for labels that are always or never 1 in a split."""
    for name, column in dataset.targets.items():
        if column.kind not in ("class", "multilabel"):
            continue
        train, names = _counts(column, dataset.splits["train"]), _names(name, column, manifest)
        for split in _OTHERS:
            if split not in dataset.splits:
                continue
            found = _counts(column, dataset.splits[split])
            absent = [names[i] for i in _unexpected(train, found).nonzero().flatten().tolist()]
            if absent:
                yield _warning(name, split, absent, int(found.sum(1).amax()))


def _counts(column: TargetColumn, rows: Tensor) -> Tensor:
    """[groups, values]: how often each class occurs, in one group; for labels a group each, of 0 and 1."""
    values = column.values[rows]
    if column.kind == "class":
        return torch.bincount(values[column.labelled[rows]], minlength=column.size)[None]
    return torch.stack([(values == 0.0).sum(0), (values == 1.0).sum(0)], dim=1)


def _names(name: str, column: TargetColumn, manifest: DatasetManifest) -> list[str]:
    """What each number of `_counts` counts, in order."""
    if column.kind == "class":
        return list(column.classes or map(str, range(column.size)))
    columns = columns_of(name, manifest.targets[name])
    labels = columns if len(columns) == column.size else [f"{name}[{i}]" for i in range(column.size)]
    return [f"{label}={value}" for label in labels for value in (0, 1)]


def _unexpected(train: Tensor, found: Tensor) -> Tensor:
    """Bool [groups · values]: whether the value does not occur in the split, which chance does not explain: rows drawn
    as in the training split lack it with probability (1 − share)^rows.
    """
    share = (train / train.sum(1, keepdim=True).clamp(min=1)).double()
    log_chance = found.sum(1, keepdim=True) * torch.log1p(-share.clamp(max=1.0 - 1e-9))
    return ((found == 0) & (log_chance < LOG_CHANCE - log(train.numel()))).flatten()


def _warning(name: str, split: SplitName, absent: list[str], rows: int) -> DataWarning:
    return DataWarning(
        code="class_missing_in_split",
        message=f"the {split} split has {rows} labels of `{name}`, none of them {listed(absent)}, which the training "
        "split has often: expected splits of the same mixture, as what is measured on this one says nothing of them. "
        "Shuffle or stratify the split (`splits`), or assign rows by a column",
        targets=(name,),
    )
