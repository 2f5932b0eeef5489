"""Contrast, brightness, colour and rotation of fixed magnitudes, drawn for each row."""

from collections import Counter

import numpy as np
import scipy.ndimage
import torch
from scipy import stats
from torch import Tensor

from tests.engine.data.augment.images import ROWS, SHAPE, SPLIT, look, views_of

ONE = {"kind": "rand_augment", "operations": 1, "magnitude": 10}


def images() -> Tensor:
    """float32 [300, 3, 12, 10], standardised."""
    return torch.randn((ROWS, *SHAPE), generator=torch.Generator().manual_seed(3))


def formulas(x: Tensor) -> dict[str, Tensor]:
    """What each operation makes of an image [3, 12, 10], in float64."""
    exact = x.double()
    grey = exact.mean(0, keepdim=True)
    found = {"identity": exact}
    for name, sign in (("up", 1), ("down", -1)):
        change = sign * 0.9
        found[f"contrast {name}"] = exact * (1 + change)
        found[f"brightness {name}"] = exact + change
        found[f"colour {name}"] = grey + (1 + change) * (exact - grey)
        turned = [
            scipy.ndimage.rotate(each, sign * 30, reshape=False, order=0, mode="grid-constant")
            for each in exact.numpy()
        ]
        found[f"rotation {name}"] = torch.from_numpy(np.stack(turned))
    return found


def test_each_row_is_changed_by_one_of_the_formulas_and_all_are_equally_often() -> None:
    data, counts = images(), Counter[str]()
    for epoch in range(4):
        for row, seen in zip(SPLIT, look(data, SPLIT, views_of(ONE), epoch).x, strict=True):
            made = formulas(data[row])
            near = [name for name, each in made.items() if torch.allclose(seen.double(), each, atol=1e-5)]
            assert len(near) == 1, "of float32 images no two operations are equal"
            counts[near[0]] += 1
    assert len(counts) == 9
    kinds = Counter(name.split()[0] for name in counts.elements())
    assert stats.chisquare(list(kinds.values())).pvalue > 1e-4
    ups = sum(count for name, count in counts.items() if name.endswith("up"))
    downs = sum(count for name, count in counts.items() if name.endswith("down"))
    assert stats.binomtest(ups, ups + downs).pvalue > 1e-4


def test_the_magnitude_scales_every_change_and_operations_follow_each_other() -> None:
    data = images()

    def of(operations: int, magnitude: int) -> Tensor:
        view = {"kind": "rand_augment", "operations": operations, "magnitude": magnitude}
        return (look(data, SPLIT, views_of(view)).x - data[SPLIT]).abs().flatten(1).mean(1)

    assert float(of(1, 1).mean()) < float(of(1, 10).mean())
    assert int((of(4, 5) > 0).sum()) > int((of(1, 5) > 0).sum())


def test_a_grey_image_has_no_colour_to_change() -> None:
    data = images()[:, :1]
    seen = look(data, SPLIT, views_of({**ONE, "magnitude": 5})).x
    same = (seen == data[SPLIT]).flatten(1).all(1)
    assert stats.binomtest(int(same.sum()), len(SPLIT), 0.4).pvalue > 1e-4, "identity and colour"
