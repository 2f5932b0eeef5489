"""Random flips."""

import torch
from torch import Tensor

from app.contracts.specs.views import FlipView
from workers.engine.data.augment.draws import Draws


def flip(x: Tensor, draws: Draws, spec: FlipView) -> Tensor:
    """Images x [n, C, H, W], each flipped with the spec's probability."""
    (drawn,) = draws.uniforms(1)
    flipped = (drawn < spec.probability).to(x.device, non_blocking=True)
    return torch.where(flipped[:, None, None, None], x.flip(3 if spec.direction == "horizontal" else 2), x)
