"""Classes with no or few labels to learn from, and -1 that may be a class."""

from collections.abc import Iterator

import torch
from torch import Tensor

from app.contracts.problems import listed
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.statistics import DataWarning
from app.contracts.specs.supervision.metrics import CLASS_KINDS
from workers.engine.data.dataset import Dataset, TargetColumn

FEW = 5


def class_labels(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """`minus_one_is_missing`, `class_without_labels` and `few_labels` of each class target with training labels."""
    train = dataset.splits["train"]
    for name, column in dataset.targets.items():
        if column.kind not in CLASS_KINDS:
            continue
        counts = _counts(column, train)
        if int(counts.sum()) == 0:
            continue  # a dataset to distil on without labels
        everywhere = _counts(column, torch.arange(dataset.rows))
        if column.minus_ones and bool((everywhere == 0).any()):
            yield _minus_one(name, column, everywhere)
        yield from _few(name, column, counts)


def _counts(column: TargetColumn, rows: Tensor) -> Tensor:
    """How often each class occurs; of tokens or pixels, how often among all of them."""
    values = column.values[rows[column.labelled[rows]]]
    return torch.bincount(values[values >= 0], minlength=column.size)


def _names(column: TargetColumn, chosen: Tensor) -> list[str]:
    indices = chosen.nonzero().flatten().tolist()
    return [column.classes[i] if column.classes is not None else str(i) for i in indices]


def _minus_one(name: str, column: TargetColumn, counts: Tensor) -> DataWarning:
    """Names that are the labels of the file are classes; names of another kind stay where classes count from 0."""
    empty, there = _names(column, counts == 0), (counts > 0).nonzero().flatten().tolist()
    present = ["-1", *(_names(column, counts > 0) if column.by_name else map(str, there))]
    named = ", ".join(f'"{each}"' for each in present[:5]) + (", …" if len(present) > 5 else "")
    keep = " to keep their names" if column.classes is not None and not column.by_name else ""
    return DataWarning(
        code="minus_one_is_missing",
        message=f"`{name}` is -1 in {column.minus_ones} rows, which were read as rows without a label, and no row has "
        f"the class {listed(empty)}. If -1 is a class, as in labels -1 and 1, number the classes from 0{keep}, or name "
        f'them as they are in the file: `"classes": [{named}]`',
        targets=(name,),
    )


def _few(name: str, column: TargetColumn, counts: Tensor) -> Iterator[DataWarning]:
    empty = _names(column, counts == 0)
    if empty:
        yield DataWarning(
            code="class_without_labels",
            message=f"{len(empty)} of the {column.size} classes of `{name}` have no label in the training split "
            f"({listed(empty)}): a student cannot learn them from labels. Check `classes` and the labels, or "
            "stratify the split",
            targets=(name,),
        )
    few = _names(column, (counts > 0) & (counts < FEW))
    if few:
        yield DataWarning(
            code="few_labels",
            message=f"{len(few)} of the {column.size} classes of `{name}` have fewer than {FEW} labels in the training "
            f"split ({listed(few)}): expected more to learn them from labels. Add labels, join rare classes, or "
            "distil from a teacher that knows them",
            targets=(name,),
        )
