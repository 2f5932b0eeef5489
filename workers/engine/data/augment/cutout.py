"""Cutout (DeVries, Taylor 2017, "Improved regularization of convolutional neural networks with cutout").

A square around a uniform pixel becomes zero; its part beyond the edge is lost, so what is blanked varies in size. An
even side reaches one pixel further to the top and left of its centre.
"""

import torch
from torch import Tensor

from app.contracts.specs.views import CutoutView
from workers.engine.data.augment.boxes import Boxes
from workers.engine.data.augment.draws import Draws, below


def cutout(x: Tensor, draws: Draws, spec: CutoutView) -> Tensor:
    """Pictures x [n, C, H, W], each with a hole where drawn so."""
    height, width = x.shape[2:]
    drawn, down, right = draws.uniforms(3)
    side = torch.where(drawn < spec.probability, spec.size, 0)
    holes = Boxes.around(below(down, height), below(right, width), side, side, (height, width))
    return x.masked_fill(holes.mask((height, width), x.device), 0.0)
