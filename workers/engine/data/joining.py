"""The datasets of a job as one row space: dataset by dataset, in the job's order.

Whether they agree (shape, transform, targets of one name) was checked when the job was submitted, by
`app.contracts.resolving.data.joining`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.contracts.resources.manifests import ArrayInput, SplitName
from app.contracts.specs.jobs import DatasetRef
from app.contracts.wire.orders import DatasetInput, Order
from workers.engine.data.dataset import Dataset, Source, TargetColumn
from workers.engine.data.labels import MISSING
from workers.engine.data.reading import read_dataset, transform_of
from workers.engine.data.splits import ORDER


def read_datasets(order: Order, refs: Sequence[DatasetRef]) -> Dataset:
    """Read the datasets that a job names, and join them. Raises UserError as `read_dataset` does.

    One dataset is read as it is. Several are copied once; what has been copied is let go of, so that the most that is
    held at once is all rows and those of the largest dataset.
    """
    inputs = [order.datasets[ref.dataset] for ref in refs]
    read = [read_dataset(Path(each.path), each.manifest) for each in inputs]
    sources, first = [], 0
    for ref, part in zip(refs, read, strict=True):
        raw = next(iter(part.inputs.values()))
        sources.append(Source(ref.dataset, first, part.rows, ref.weight, raw.dtype))
        first += part.rows
    if len(read) == 1:
        return replace(read[0], sources=tuple(sources))
    name, spec = next(iter(inputs[0].manifest.inputs.items()))
    return _joined(read, tuple(sources), name, spec)


def inputs_of(order: Order, dataset: Dataset) -> tuple[DatasetInput, ...]:
    """The files and manifests that the rows are of, in the job's order."""
    return tuple(order.datasets[source.id] for source in dataset.sources)


def digest_facts(order: Order, dataset: Dataset) -> dict[str, Any]:
    """Everything about a job's data that the bits of what is trained on them depend on, as JSON."""
    facts = [
        {
            "dataset": each.sha256,
            "manifest": each.manifest.model_dump(mode="json", exclude={"name", "metadata"}),
        }
        for each in inputs_of(order, dataset)
    ]
    if len(facts) == 1:
        return facts[0]
    weights = [source.weight for source in dataset.sources]
    return {"datasets": [{**own, "weight": weight} for own, weight in zip(facts, weights, strict=True)]}


def _joined(parts: list[Dataset], sources: tuple[Source, ...], name: str, spec: ArrayInput) -> Dataset:
    """Parts as one; their inputs are taken out of `parts`, which is emptied of them."""
    splits = _splits(parts, sources)
    targets = {
        target: _target([part.targets.get(target) for part in parts], [part.rows for part in parts])
        for target in dict.fromkeys(target for part in parts for target in part.targets)
    }
    raws = [next(iter(part.inputs.values())) for part in parts]
    parts.clear()
    raw = stacked(raws)
    transforms = {name: transform_of(name, raw, spec, splits["train"])}
    return Dataset(len(raw), {name: raw}, targets, splits, transforms, sources)


def stacked(parts: list[Tensor]) -> Tensor:
    """Tensors [n, …] one after the other, [Σ n, …], uint8 only where all are. `parts` is emptied as they are copied:
    memory that is not written to yet takes no room.
    """
    dtypes = {part.dtype for part in parts}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    whole = torch.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=dtype)
    place = 0
    while parts:
        part = parts.pop(0)
        whole[place : place + len(part)] = part
        place += len(part)
    return whole


def _splits(parts: Sequence[Dataset], sources: Sequence[Source]) -> dict[SplitName, Tensor]:
    found: dict[SplitName, Tensor] = {}
    for name in ORDER:
        rows = [part.splits[name] + own.first for part, own in zip(parts, sources, strict=True) if name in part.splits]
        if rows:
            found[name] = torch.cat(rows)
    return found


def _target(columns: Sequence[TargetColumn | None], rows: Sequence[int]) -> TargetColumn:
    """A target of all rows: missing on those of a dataset that lacks it (None)."""
    having = [column for column in columns if column is not None]
    first = having[0]
    missing = MISSING if first.kind == "class" else torch.nan
    values, labelled = [], []
    for column, count in zip(columns, rows, strict=True):
        whole = first.values.new_full((count, *first.values.shape[1:]), missing)
        values.append(whole if column is None else column.values)
        labelled.append(torch.zeros(count, dtype=torch.bool) if column is None else column.labelled)
    classes = next((column.classes for column in having if column.classes is not None), None)
    return replace(first, values=torch.cat(values), labelled=torch.cat(labelled), classes=classes)
