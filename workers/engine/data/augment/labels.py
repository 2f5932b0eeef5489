"""Labels of pixels, moved as the images of their rows are."""

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from app.contracts.specs.views import (
    ColorJitterView,
    CropView,
    CutoutView,
    FlipView,
    NoiseView,
    RandAugmentView,
    ShiftView,
    SpecAugmentView,
    Views,
    WordDropoutView,
)
from workers.engine.data.augment.draws import Draws
from workers.engine.data.augment.flips import flip
from workers.engine.data.augment.translation import crop, shift
from workers.engine.data.labels.columns import MISSING
from workers.engine.data.rows.columns import Column, ColumnLike, Rows


@dataclass(frozen=True)
class MapLabels:
    """Labels [N, height · width] by row, in the places that the pixels of an augmented row have."""

    column: Column
    shape: tuple[int, int]

    @classmethod
    def on(cls, device: torch.device, labels: Tensor, shape: tuple[int, int]) -> "MapLabels":
        """`labels` on the device, or gathered from the host."""
        return cls(Column.on(device, labels), shape)

    def take(self, rows: Rows) -> Tensor:
        """The labels of these rows, as augmented, on the device: [n, height · width]."""
        labels = self.column.take(rows)
        if rows.augmentation is None or rows.augmentation.views is None:
            return labels
        maps = labels.reshape(len(labels), 1, *self.shape)
        return moved(maps, rows.host, rows.augmentation.epoch, rows.augmentation.views).flatten(1)


def moved(maps: Tensor, rows: Tensor, epoch: int, views: Views) -> Tensor:
    """Maps [n, 1, H, W] of the size of the images, moved by the draws that `augment` has for them: a pixel from outside
    of the image has no label where the image is filled with zeros, and its own where it is reflected. What changes
    colours alone leaves labels as they are, also below an erased square.
    """
    for index, transform in enumerate(views.plain):
        draws = Draws.of(rows, views.seed, "view", epoch, index)
        match transform:
            case ShiftView():
                maps = shift(maps, draws, transform, outside=MISSING)
            case CropView():
                maps = crop(maps, draws, transform, outside=MISSING)
            case FlipView():
                maps = flip(maps, draws, transform)
            case CutoutView() | NoiseView() | ColorJitterView() | SpecAugmentView() | WordDropoutView():
                pass
            case RandAugmentView():
                raise ValueError("`rand_augment` turns images, and maps do not: the resolver refuses it")
            case _:
                assert_never(transform)
    return maps


def label_column(values: Tensor, shape: tuple[int, int] | None, device: torch.device) -> ColumnLike:
    """`values` [N, …] of a target; those of a map of this `shape` move with the image of an augmented row."""
    return Column.on(device, values) if shape is None else MapLabels.on(device, values, shape)


def without_labels(rows: int, positions: int) -> Tensor:
    """Labels [rows, positions] of which none is there, in the memory of one."""
    return torch.full((1, 1), MISSING, dtype=torch.int16).expand(rows, positions)
