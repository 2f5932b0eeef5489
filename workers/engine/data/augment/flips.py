"""Flip: some pictures mirrored."""

import torch
from torch import Tensor

from app.contracts.specs.views import FlipView
from workers.engine.data.augment.draws import Draws


def flip(x: Tensor, draws: Draws, spec: FlipView) -> Tensor:
    """Pictures x [n, C, H, W], each mirrored where drawn so."""
    (drawn,) = draws.uniforms(1)
    turned = (drawn < spec.probability).to(x.device, non_blocking=True)
    return torch.where(turned[:, None, None, None], x.flip(3 if spec.direction == "horizontal" else 2), x)
