"""Shift, crop and flip against pictures padded, cut and mirrored by numpy."""

from collections import Counter
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from tests.engine.data.augment.images import SPLIT, look, pictures, views_of

Move = tuple[int, int]


def candidates(
    picture: NDArray[np.float32], most: int, mode: Literal["constant", "reflect"]
) -> dict[Move, NDArray[np.float32]]:
    """All crops of the old size from the picture padded by `most` pixels on each side."""
    padded = np.pad(picture, ((0, 0), (most, most), (most, most)), mode=mode)
    height, width = picture.shape[1:]
    return {
        (down, right): padded[:, down : down + height, right : right + width]
        for down in range(2 * most + 1)
        for right in range(2 * most + 1)
    }


def moves_of(transform: dict[str, Any], most: int, mode: Literal["constant", "reflect"], epochs: int) -> list[Move]:
    """The one crop that each row shows in each epoch; fails where a row shows none."""
    data = pictures()
    rows = SPLIT[:40]
    allowed = [candidates(data[row].numpy(), most, mode) for row in rows]
    found = []
    for epoch in range(epochs):
        seen = look(data, rows, views_of(transform), epoch).x.numpy()
        for picture, crops in zip(seen, allowed, strict=True):
            matching = [move for move, crop in crops.items() if np.array_equal(crop, picture)]
            assert len(matching) == 1
            found += matching
    return found


@pytest.mark.parametrize(
    ("transform", "most", "mode"),
    [
        ({"kind": "shift", "pixels": 1}, 1, "constant"),
        ({"kind": "shift", "pixels": 9}, 9, "constant"),
        ({"kind": "crop", "padding": 1}, 1, "constant"),
        ({"kind": "crop", "padding": 2, "fill": "reflect"}, 2, "reflect"),
        ({"kind": "crop", "padding": 8, "fill": "reflect"}, 8, "reflect"),
    ],
)
def test_each_picture_is_one_of_the_crops_of_its_padded_self(
    transform: dict[str, Any], most: int, mode: Literal["constant", "reflect"]
) -> None:
    """Also at the furthest moves that a picture of 12 x 10 allows (mirrored, those by 9 to either side are alike)."""
    moves = moves_of(transform, most, mode, epochs=2)
    assert len(set(moves)) > 6


@pytest.mark.parametrize("transform", [{"kind": "shift", "pixels": 1}, {"kind": "crop", "padding": 1}])
def test_all_moves_come_equally_often(transform: dict[str, Any]) -> None:
    counts = Counter(moves_of(transform, 1, "constant", epochs=60))
    assert len(counts) == 9
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


@pytest.mark.parametrize(("direction", "axis"), [("horizontal", 2), ("vertical", 1)])
def test_a_flipped_picture_is_the_mirror_image_and_the_share_is_the_probability(direction: str, axis: int) -> None:
    data = pictures()
    views = views_of({"kind": "flip", "direction": direction, "probability": 0.3})
    flipped = 0
    for epoch in range(20):
        seen = look(data, SPLIT, views, epoch).x.numpy()
        for row, picture in zip(SPLIT.tolist(), seen, strict=True):
            plain = data[row].numpy()
            turned = np.array_equal(picture, np.flip(plain, axis))
            assert turned or np.array_equal(picture, plain)
            flipped += turned
    assert stats.binomtest(flipped, 20 * len(SPLIT), 0.3).pvalue > 1e-4


@pytest.mark.parametrize(("probability", "axes"), [(0.0, ()), (1.0, (3,))])
def test_probabilities_of_0_and_1_are_meant_literally(probability: float, axes: tuple[int, ...]) -> None:
    data = pictures()
    seen = look(data, SPLIT, views_of({"kind": "flip", "probability": probability})).x
    assert torch.equal(seen, data[SPLIT].flip(axes))
