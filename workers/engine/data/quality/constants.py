"""Inputs and targets that are the same in every training row: there is nothing to learn from them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from app.contracts.problems import listed
from app.contracts.resources.columns import columns_of
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.statistics import DataWarning
from workers.engine.data.dataset import Dataset, TargetColumn
from workers.engine.data.rows.blocks import row_blocks

MIN_ROWS = 2


def constants(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """`constant_input` of each input whose rows are all equal, `constant_target` of each value, number of a vector and
    label that is (a class target with one class has `class_without_labels`).
    """
    train = dataset.splits["train"]
    for name, raw in dataset.numbers.items():
        if len(train) >= MIN_ROWS and _is_constant(raw, train):
            yield DataWarning(
                code="constant_input",
                message=f"the input `{name}` is the same in all {len(train)} rows of the training split: expected rows "
                "that differ, as nothing can be learned from equal ones. Check its columns, or leave it out",
            )
    for name, column in dataset.targets.items():
        if column.kind in ("value", "vector", "multilabel"):
            yield from _constant_numbers(name, column, train, manifest)


def _is_constant(raw: Tensor, rows: Tensor) -> bool:
    """Whether the rows are equal. Most inputs differ in the first block."""
    first = raw[rows[0]]
    return all(bool((raw[part] == first).all()) for part in row_blocks(raw, rows))


def _constant_numbers(
    name: str, column: TargetColumn, train: Tensor, manifest: DatasetManifest
) -> Iterator[DataWarning]:
    numbers = column.values[train[column.labelled[train]]].reshape(-1, column.size)
    known = ~numbers.isnan()
    if not bool(known.any()):
        return  # a dataset to distil on without labels
    low = torch.where(known, numbers, torch.inf).amin(0)
    high = torch.where(known, numbers, -torch.inf).amax(0)
    chosen = ((low >= high) & (known.sum(0) != 1)).nonzero().flatten().tolist()
    if not chosen or (column.kind == "vector" and len(chosen) < column.size):
        return  # one constant number of an embedding is ordinary
    columns = columns_of(name, manifest.targets[name])
    called = [columns[i] if len(columns) == column.size else f"{name}[{i}]" for i in chosen]
    what = "label" if column.kind == "multilabel" else "number"
    yield DataWarning(
        code="constant_target",
        message=f"{len(chosen)} of the {column.size} {what}s of `{name}` are the same wherever they are known in the "
        f"training split, or never known ({listed(called)}): expected some that differ. Check the columns, or leave "
        "them out",
        targets=(name,),
    )
