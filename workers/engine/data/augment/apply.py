"""Applies the augmentations of a spec to a batch."""

from dataclasses import dataclass
from typing import assert_never

from torch import Tensor

from app.contracts.specs.views import (
    ColorJitterView,
    CropView,
    CutmixView,
    CutoutView,
    FlipView,
    MixingView,
    MixupView,
    NoiseView,
    PlainView,
    RandAugmentView,
    ShiftView,
    SpecAugmentView,
    Views,
    WordDropoutView,
)
from workers.engine.data.augment.cutout import cutout
from workers.engine.data.augment.draws import Draws
from workers.engine.data.augment.flips import flip
from workers.engine.data.augment.mixing import cutmix, mixup
from workers.engine.data.augment.noise import noise
from workers.engine.data.augment.partners import MixingPartners
from workers.engine.data.augment.photometric import color_jitter, rand_augment
from workers.engine.data.augment.spectrogram import spec_augment
from workers.engine.data.augment.tokens import word_dropout
from workers.engine.data.augment.translation import crop, shift


@dataclass(frozen=True)
class AugmentedInputs:
    """The augmented `x` [n, …]; where rows are mixed also `partner` (int64 [n], host) and `share`, λ (float32 [n], x's
    device).

    A loss on labels is then share · loss(row's label) + (1 − share) · loss(partner's label), row by row. Soft targets
    are not mixed: they are the teacher's outputs for `x` itself.
    """

    x: Tensor
    partner: Tensor | None = None
    share: Tensor | None = None


def augment(
    x: Tensor, rows: Tensor, epoch: int, views: Views, partners: MixingPartners | None = None
) -> AugmentedInputs:
    """`x` [n, …]: preprocessed inputs, on any device; `rows`: their numbers in the dataset, int64 [n] on the host;
    `epoch` counts from 0. `x` is not modified.

    A row's augmentation is bit-identical in every batch. A partner is augmented as itself in this epoch, before it is
    mixed in. Raises ValueError if rows are to be mixed and `partners` is None.
    """
    augmented = _without_mixing(x, rows, epoch, views)
    mixing = views.mixing
    if mixing is None:
        return AugmentedInputs(augmented)
    if partners is None:
        raise ValueError(f"`{mixing.kind}` needs partners")
    partner = partners.of(rows, views.seed, epoch)
    other = _without_mixing(partners.take(partner), partner, epoch, views)
    draws = _draws(rows, epoch, views, len(views.transforms) - 1)
    mixed, share = _mixed(augmented, other, draws, mixing)
    return AugmentedInputs(mixed, partner, share)


def _draws(rows: Tensor, epoch: int, views: Views, index: int) -> Draws:
    """The draws of the transform at `index` in the spec."""
    return Draws.of(rows, views.seed, "view", epoch, index)


def _without_mixing(x: Tensor, rows: Tensor, epoch: int, views: Views) -> Tensor:
    for index, transform in enumerate(views.plain):
        x = _transformed(x, _draws(rows, epoch, views, index), transform)
    return x


def _transformed(x: Tensor, draws: Draws, transform: PlainView) -> Tensor:
    match transform:
        case ShiftView():
            return shift(x, draws, transform)
        case CropView():
            return crop(x, draws, transform)
        case FlipView():
            return flip(x, draws, transform)
        case CutoutView():
            return cutout(x, draws, transform)
        case NoiseView():
            return noise(x, draws, transform)
        case ColorJitterView():
            return color_jitter(x, draws, transform)
        case RandAugmentView():
            return rand_augment(x, draws, transform)
        case SpecAugmentView():
            return spec_augment(x, draws, transform)
        case WordDropoutView():
            return word_dropout(x, draws, transform)
        case _:
            assert_never(transform)


def _mixed(x: Tensor, other: Tensor, draws: Draws, transform: MixingView) -> tuple[Tensor, Tensor]:
    match transform:
        case MixupView():
            return mixup(x, other, draws, transform)
        case CutmixView():
            return cutmix(x, other, draws, transform)
        case _:
            assert_never(transform)
