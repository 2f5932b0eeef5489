"""Contrast, brightness and saturation by amounts that each row draws."""

from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.engine.data.augment.images import ROWS, SHAPE, SPLIT, look, views_of


def images() -> Tensor:
    """float32 [300, 3, 12, 10], standardised."""
    return torch.randn((ROWS, *SHAPE), generator=torch.Generator().manual_seed(3))


def changed(**amounts: float) -> tuple[Tensor, Tensor]:
    """Images as they are and as they are seen, in float64."""
    view = {"kind": "color_jitter", "contrast": 0.0, "brightness": 0.0, "saturation": 0.0, **amounts}
    data = images()
    return data[SPLIT].double(), look(data, SPLIT, views_of(view)).x.double()


def uniform(drawn: Tensor, largest: float) -> bool:
    """Whether numbers, one a row, are uniform between the largest up and down."""
    found: Any = stats.kstest(drawn.numpy(), stats.uniform(-largest, 2 * largest).cdf)
    return bool(found.pvalue > 1e-4)


def test_contrast_is_a_factor_of_each_row() -> None:
    x, seen = changed(contrast=0.5)
    factors = (seen / x).flatten(1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors), rtol=1e-4, atol=1e-4)
    assert uniform(factors[:, 0] - 1.0, 0.5)


def test_brightness_is_added_to_each_row() -> None:
    x, seen = changed(brightness=0.3)
    added = (seen - x).flatten(1)
    torch.testing.assert_close(added, added[:, :1].expand_as(added), rtol=0, atol=1e-6)
    assert uniform(added[:, 0], 0.3)


def test_saturation_moves_colours_to_and_from_grey() -> None:
    x, seen = changed(saturation=0.8)
    grey = x.mean(1, keepdim=True)
    torch.testing.assert_close(seen.mean(1, keepdim=True), grey, rtol=0, atol=1e-6)
    factors = ((seen - grey) * (x - grey)).flatten(1).sum(1) / ((x - grey) ** 2).flatten(1).sum(1)
    torch.testing.assert_close(seen - grey, (x - grey) * factors[:, None, None, None], rtol=0, atol=1e-5)
    assert uniform(factors - 1.0, 0.8)


@pytest.mark.parametrize("epoch", [0, 3])
def test_all_three_are_drawn_by_themselves(epoch: int) -> None:
    data = images()
    seen = look(data, SPLIT, views_of({"kind": "color_jitter"}), epoch).x
    again = look(data, SPLIT, views_of({"kind": "color_jitter"}), epoch).x
    other = look(data, SPLIT, views_of({"kind": "color_jitter"}, seed=1), epoch).x
    assert torch.equal(seen, again)
    assert not torch.equal(seen, other)
