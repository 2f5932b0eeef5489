"""Cutout: a hole that is a clipped square, in all channels, around a uniform pixel."""

import numpy as np
import pytest
import torch
from scipy import stats

from tests.engine.data.augment.images import ROWS, SPLIT, look, pictures, views_of


def holes(size: int, height: int, width: int) -> dict[tuple[int, int], bytes]:
    """For each centre: which pixels a square of this side around it blanks."""
    found = {}
    for y in range(height):
        for x in range(width):
            blank = np.zeros((height, width), dtype=bool)
            for row in range(y - size // 2, y - size // 2 + size):
                for column in range(x - size // 2, x - size // 2 + size):
                    if 0 <= row < height and 0 <= column < width:
                        blank[row, column] = True
            found[y, x] = blank.tobytes()
    return found


@pytest.mark.parametrize("size", [1, 4, 5, 11])
def test_the_hole_is_a_square_clipped_at_the_edge_and_all_else_is_untouched(size: int) -> None:
    data = pictures()
    seen = look(data, SPLIT, views_of({"kind": "cutout", "size": size})).x
    blank = seen == 0.0
    assert torch.equal(blank[:, 0], blank[:, 1])
    assert torch.equal(blank[:, 0], blank[:, 2])
    assert torch.equal(torch.where(blank, 0.0, data[SPLIT]), seen)
    allowed = set(holes(size, 12, 10).values())
    assert all(mask.tobytes() in allowed for mask in blank[:, 0].numpy())


def test_every_pixel_is_the_centre_equally_often() -> None:
    data = torch.ones(ROWS, 1, 4, 3)
    centres = {mask: place for place, mask in holes(1, 4, 3).items()}
    views = views_of({"kind": "cutout", "size": 1})
    found = [
        centres[mask.tobytes()]
        for epoch in range(20)
        for mask in (look(data, SPLIT, views, epoch).x[:, 0] == 0).numpy()
    ]
    counts = [found.count(place) for place in centres.values()]
    assert stats.chisquare(counts).pvalue > 1e-4


def test_the_share_of_pictures_with_a_hole_is_the_probability() -> None:
    data = pictures()
    views = views_of({"kind": "cutout", "size": 3, "probability": 0.25})
    cut = sum(int((look(data, SPLIT, views, epoch).x == 0.0).flatten(1).any(1).sum()) for epoch in range(20))
    assert stats.binomtest(cut, 20 * len(SPLIT), 0.25).pvalue > 1e-4
