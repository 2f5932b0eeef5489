"""Masks of frequency and time: whole bands and whole spans of zeros, of uniform widths at uniform places."""

import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.engine.data.augment.images import ROWS, SPLIT, look, pictures, views_of

BANDS = {"kind": "spec_augment", "frequency_width": 5, "time_width": 4, "frequency_masks": 1, "time_masks": 0}
FRAMES = {**BANDS, "frequency_masks": 0, "time_masks": 1}


def is_one_span(masked: Tensor) -> bool:
    """Whether the True values of each row, bool [n, L], are neighbours."""
    steps = torch.nn.functional.pad(masked.int(), (1, 1)).diff(dim=1)
    return bool(((steps == 1).sum(1) <= 1).all())


def test_whole_bands_and_whole_spans_are_zero_in_all_channels_and_all_else_is_untouched() -> None:
    data = pictures()
    views = views_of({"kind": "spec_augment", "frequency_width": 5, "time_width": 4})
    seen = look(data, SPLIT, views).x
    blank = seen == 0.0
    bands, frames = blank.all(3).all(1), blank.all(2).all(1)
    assert torch.equal(blank, (bands[:, None, :, None] | frames[:, None, None, :]).expand_as(blank))
    assert torch.equal(torch.where(blank, 0.0, data[SPLIT]), seen)
    assert bands.sum(1).max() > 5, "two masks"
    assert frames.sum(1).max() > 4


@pytest.mark.parametrize(("view", "side", "most"), [(BANDS, 2, 5), (FRAMES, 3, 4)], ids=["bands", "frames"])
def test_a_mask_is_one_span_of_a_uniform_width_which_reaches_both_ends_equally_often(
    view: dict[str, object], side: int, most: int
) -> None:
    data, other = torch.ones(ROWS, 1, 12, 10), 5 - side
    hidden = torch.cat([(look(data, SPLIT, views_of(view), epoch).x == 0).all(other)[:, 0] for epoch in range(20)])
    assert is_one_span(hidden)
    counts = torch.bincount(hidden.sum(1), minlength=most + 1)
    assert len(counts) == most + 1
    assert stats.chisquare(counts).pvalue > 1e-4
    ends = int(hidden[:, 0].sum()), int(hidden[:, -1].sum())
    assert stats.binomtest(ends[0], sum(ends), 0.5).pvalue > 1e-4


def test_rows_of_bands_and_frames_alone_are_masked_as_those_of_one_channel() -> None:
    data, views = (
        torch.rand(ROWS, 12, 10) + 1.0,
        views_of({"kind": "spec_augment", "frequency_width": 5, "time_width": 4}),
    )
    assert torch.equal(look(data, SPLIT, views).x, look(data[:, None], SPLIT, views).x[:, 0])
