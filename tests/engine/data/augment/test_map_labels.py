"""Labels of pixels move as the pixels of their image do."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from app.contracts.specs.views import Views
from workers.engine.data.augment import augment
from workers.engine.data.augment.labels import MapLabels, without_labels
from workers.engine.data.rows.columns import Augmentation, Rows, concatenate

CPU = torch.device("cpu")
SHAPE = (6, 9)


def numbers(rows: int = 20) -> Tensor:
    """Maps [rows, 6, 9] in which each pixel of a row has a number of its own, from 1 on."""
    return (torch.arange(rows * math.prod(SHAPE)) % 500 + 1).reshape(rows, *SHAPE).to(torch.int16)


def taken(views: Views, rows: Rows, epoch: int = 3) -> Tensor:
    column = MapLabels.on(CPU, numbers().flatten(1), SHAPE)
    augmented = Rows(rows.host, rows.device, Augmentation(epoch, views=views))
    return column.take(augmented).reshape(len(rows), *SHAPE)


@pytest.mark.parametrize(
    "transforms",
    [
        [{"kind": "flip"}],
        [{"kind": "flip", "direction": "vertical"}, {"kind": "shift", "pixels": 3}],
        [{"kind": "crop", "padding": 2}],
        [{"kind": "crop", "padding": 2, "fill": "reflect"}, {"kind": "flip"}],
        [{"kind": "shift", "pixels": 2}, {"kind": "crop", "padding": 1}, {"kind": "flip"}],
    ],
)
def test_a_label_is_where_its_pixel_is_and_nowhere_else(transforms: list[dict[str, Any]]) -> None:
    """An image that has the label of each pixel as its colour is moved to the labels, 0 where it has no pixel."""
    views = Views.model_validate({"seed": 5, "transforms": tuple(transforms)})
    rows = Rows.on(CPU, torch.tensor([11, 2, 7, 19, 0]))
    images = numbers()[rows.host][:, None].float()
    moved = augment(images, rows.host, 3, views).x[:, 0]
    found = taken(views, rows)
    np.testing.assert_array_equal(torch.where(found < 0, 0, found), moved)
    assert not torch.equal(found, numbers()[rows.host]), "something moved"


def test_what_changes_colours_alone_moves_no_label() -> None:
    views = Views.model_validate({"transforms": ({"kind": "cutout", "size": 3}, {"kind": "noise", "std": 1.0})})
    rows = Rows.on(CPU, torch.arange(4))
    np.testing.assert_array_equal(taken(views, rows), numbers()[:4])


def test_rows_that_are_not_augmented_have_their_labels_and_joined_batches_keep_their_views() -> None:
    column, rows = MapLabels.on(CPU, numbers().flatten(1), SHAPE), Rows.on(CPU, torch.arange(4))
    np.testing.assert_array_equal(column.take(rows), numbers()[:4].flatten(1))
    views = Views.model_validate({"transforms": ({"kind": "flip", "probability": 1.0},)})
    augmented = Rows(rows.host, rows.device, Augmentation(0, views=views))
    both = column.take(concatenate([augmented, augmented])).reshape(8, *SHAPE)
    np.testing.assert_array_equal(both, torch.cat([numbers()[:4].flip(2)] * 2))


def test_rows_without_labels_take_no_memory() -> None:
    found = without_labels(1000, 500)
    assert found.shape == (1000, 500)
    assert found.untyped_storage().nbytes() == 2
    assert bool((found == -1).all())
