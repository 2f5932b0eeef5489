"""A batch as it is seen in an epoch."""

from dataclasses import dataclass
from typing import assert_never

from torch import Tensor

from app.contracts.specs.views import (
    CropView,
    CutmixView,
    CutoutView,
    FlipView,
    MixingView,
    MixupView,
    NoiseView,
    PlainView,
    ShiftView,
    Views,
)
from workers.engine.data.augment.cutout import cutout
from workers.engine.data.augment.draws import Draws
from workers.engine.data.augment.flips import flip
from workers.engine.data.augment.mixing import cutmix, mixup
from workers.engine.data.augment.moves import crop, shift
from workers.engine.data.augment.noise import noise
from workers.engine.data.augment.partners import Partners


@dataclass(frozen=True)
class Viewed:
    """`x` [n, …] as seen; where rows are mixed, `partner` (int64 [n], host) and `share` (float32 [n], x's device).

    A loss on labels is then share · loss(row's label) + (1 − share) · loss(partner's label), row by row. Soft targets
    are not mixed: they are what the teacher says about `x` itself.
    """

    x: Tensor
    partner: Tensor | None = None
    share: Tensor | None = None


def apply_views(x: Tensor, rows: Tensor, epoch: int, views: Views, partners: Partners | None = None) -> Viewed:
    """`x` [n, …]: preprocessed inputs, on any device; `rows`: their numbers in the dataset, int64 [n] on the host;
    `epoch` counts from 0. `x` itself is left alone.

    A row's view is the same, bit for bit, in whatever batch it stands. A partner is mixed in as it would be seen
    itself in this epoch before mixing. Raises ValueError where rows are to be mixed and no `partners` are given.
    """
    seen = _plain(x, rows, epoch, views)
    mixing = views.mixing
    if mixing is None:
        return Viewed(seen)
    if partners is None:
        raise ValueError(f"`{mixing.kind}` needs partners")
    partner = partners.of(rows, views.seed, epoch)
    other = _plain(partners.take(partner), partner, epoch, views)
    draws = _draws(rows, epoch, views, len(views.transforms) - 1)
    mixed, share = _mixed(seen, other, draws, mixing)
    return Viewed(mixed, partner, share)


def _draws(rows: Tensor, epoch: int, views: Views, place: int) -> Draws:
    return Draws.of(rows, views.seed, "view", epoch, place)


def _plain(x: Tensor, rows: Tensor, epoch: int, views: Views) -> Tensor:
    for place, transform in enumerate(views.plain):
        x = _changed(x, _draws(rows, epoch, views, place), transform)
    return x


def _changed(x: Tensor, draws: Draws, transform: PlainView) -> Tensor:
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
