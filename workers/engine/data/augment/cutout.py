"""Cutout (DeVries, Taylor 2017, "Improved regularization of convolutional neural networks with cutout").

A square around a uniformly drawn pixel is set to zero, clipped at the image's edges, so that its area varies. An even
side extends one pixel further to the top and left of the centre.
"""

import torch
from torch import Tensor

from app.contracts.specs.views import CutoutView
from workers.engine.data.augment.boxes import Boxes
from workers.engine.data.augment.draws import Draws, below


def cutout(x: Tensor, draws: Draws, spec: CutoutView) -> Tensor:
    """Images x [n, C, H, W], each with a zero square with the spec's probability."""
    height, width = x.shape[2:]
    drawn, down, right = draws.uniforms(3)
    side = torch.where(drawn < spec.probability, spec.size, 0)
    holes = Boxes.around(below(down, height), below(right, width), side, side, (height, width))
    return x.masked_fill(holes.mask((height, width), x.device), 0.0)
