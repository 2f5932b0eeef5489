"""Labels of a target by row, as a loss takes them."""

import torch
from torch import Tensor

from workers.engine.data.augment.labels import MapLabels
from workers.engine.data.labels.columns import MISSING
from workers.engine.data.rows.columns import Column, ColumnLike


def label_column(values: Tensor, shape: tuple[int, int] | None, device: torch.device) -> ColumnLike:
    """`values` [N, …] of a target; those of a map of this `shape` move with the image of an augmented row."""
    return Column.on(device, values) if shape is None else MapLabels.on(device, values, shape)


def without_labels(rows: int, positions: int) -> Tensor:
    """Labels [rows, positions] of which none is there, in the memory of one."""
    return torch.full((1, 1), MISSING, dtype=torch.int16).expand(rows, positions)
