"""Masks of frequency and time in log-mel features (SpecAugment, Park et al. 2019, "SpecAugment: A simple data
augmentation method for automatic speech recognition").

A mask of at most W of n bands or frames has the width w uniform in {0, …, W} and the start uniform in {0, …, n − w}.
Deviations: the paper draws starts below n − w, so that the last band is never masked; its bound of a mask by a share of
the utterance is W itself, as all rows have one length; and there is no time warping, which interpolates.
"""

import torch
from torch import Tensor

from app.contracts.specs.views import SpecAugmentView
from workers.engine.data.augment.draws import Draws, below


def spec_augment(x: Tensor, draws: Draws, spec: SpecAugmentView) -> Tensor:
    """Features x [n, …, bands, frames], of each of which bands and frames are zero."""
    count = spec.frequency_masks
    drawn = torch.stack(draws.uniforms(2 * (count + spec.time_masks)), 1)
    bands = _masked(drawn[:, : 2 * count], spec.frequency_width, x.shape[-2])
    frames = _masked(drawn[:, 2 * count :], spec.time_width, x.shape[-1])
    middle = [1] * (x.dim() - 3)
    hidden = bands.reshape(len(x), *middle, x.shape[-2], 1), frames.reshape(len(x), *middle, 1, x.shape[-1])
    across, along = (each.to(x.device, non_blocking=True) for each in hidden)
    return x.masked_fill(across | along, 0.0)


def _masked(drawn: Tensor, most: int, length: int) -> Tensor:
    """Whether a mask covers each position, bool [n, length]; two draws a mask, float64 [n, 2 · masks] on the host."""
    widths = below(drawn[:, ::2], most + 1)
    starts = (drawn[:, 1::2] * (length - widths + 1)).to(torch.int64)
    positions = torch.arange(length)
    return ((positions >= starts[..., None]) & (positions < (starts + widths)[..., None])).any(1)
