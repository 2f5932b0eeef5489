"""Labels of classes as places in another order of the same classes."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from app.contracts.resolving.data.class_names import places_of_numbers
from workers.engine.data.dataset import TargetColumn


def at_places(column: TargetColumn, places: Sequence[int]) -> Tensor:
    """The labels int64 [N] of a target of kind class, of which class i stands at `places[i]`; missing ones stay so."""
    return torch.where(column.labelled, torch.tensor(places)[column.values.clamp(min=0)], column.values)


def in_order_of(column: TargetColumn, names: Sequence[str]) -> TargetColumn | None:
    """A target of kind class with its classes in the order of `names`, matched by name; numbers without names as where
    datasets are joined. None where they are not the same classes, or two have one name.
    """
    ours = column.classes
    if column.size != len(names):
        return None
    if ours is None:
        return replace(column, values=at_places(column, places_of_numbers(names)), classes=tuple(names))
    if ours == tuple(names):
        return column
    if set(ours) != set(names) or len(set(names)) < len(names):
        return None
    return replace(column, values=at_places(column, [names.index(name) for name in ours]), classes=tuple(names))
