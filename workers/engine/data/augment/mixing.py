"""Mixup and cutmix: a second row in the input, and with it a second target.

    mixup  (Zhang, Cisse, Dauphin, Lopez-Paz 2018):  x = λ·x_row + (1 − λ)·x_partner
    cutmix (Yun et al. 2019):  a box of H·√(1−λ) by W·√(1−λ) around a uniform pixel comes from the partner; λ is then
                               set to the share of pixels that are still those of the row

with λ ~ Beta(α, α). Deviations: both reference implementations draw one λ (and one box) for a batch and mix the batch
with a permutation of itself; here each row has its own λ, and its partner comes from the whole training split, so that
nothing depends on the batch. The reference cutmix clips at centre ± side // 2, which loses a pixel of odd sides; here
the side is exact.
"""

import torch
from torch import Tensor

from app.contracts.specs.views import CutmixView, MixupView
from workers.engine.data.augment import quantiles
from workers.engine.data.augment.boxes import Boxes
from workers.engine.data.augment.draws import Draws, below


def _lambda(drawn: Tensor, level: Tensor, spec: MixupView | CutmixView) -> Tensor:
    """float64 [n] on the host; 1 where the row is not mixed."""
    share = quantiles.beta(spec.alpha)[below(level, quantiles.SIZE)]
    return torch.where(drawn < spec.probability, share, 1.0)


def _as_share(values: Tensor, like: Tensor) -> Tensor:
    return values.to(torch.float32).to(like.device, non_blocking=True)


def mixup(x: Tensor, other: Tensor, draws: Draws, spec: MixupView) -> tuple[Tensor, Tensor]:
    """Inputs and their partners' inputs [n, …] -> (mixed [n, …], λ float32 [n])."""
    drawn, level = draws.uniforms(2)
    share = _as_share(_lambda(drawn, level, spec), x)
    shaped = share.reshape(-1, *[1] * (x.dim() - 1))
    # Separate products and sum: a fused multiply-add would give other bits on some devices.
    return x * shaped.to(x.dtype) + other * (1.0 - shaped).to(x.dtype), share


def cutmix(x: Tensor, other: Tensor, draws: Draws, spec: CutmixView) -> tuple[Tensor, Tensor]:
    """Images and their partners' images [n, C, H, W] -> (mixed, share of the row's own pixels float32 [n])."""
    height, width = x.shape[2:]
    drawn, level, down, right = draws.uniforms(4)
    side = (1.0 - _lambda(drawn, level, spec)).sqrt()
    sides = (side * height).to(torch.int64), (side * width).to(torch.int64)
    boxes = Boxes.around(below(down, height), below(right, width), *sides, (height, width))
    share = 1.0 - boxes.area().to(torch.float64) / (height * width)
    return torch.where(boxes.mask((height, width), x.device), other, x), _as_share(share, x)
