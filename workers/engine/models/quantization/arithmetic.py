"""From ranges to the scales of integers: weights in [-63, 63] for each output channel, inputs in [0, 255] for a layer.

Weights use 7 of their 8 bits: kernels of x86 processors without VNNI add pairs of products of an unsigned and a signed
byte in 16 bits, which 255 · 127 · 2 overflows in silence and 255 · 63 · 2 does not. A file so gives the same answers on
every processor. Formulas: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 3.1.
"""

from typing import Final

import torch
from torch import Tensor

WEIGHT_LIMIT: Final = 63
INPUT_LIMIT: Final = 255
_SMALLEST = 1e-12
"""Of scales: those of weights and inputs that are all 0."""


def weight_scales(weight: Tensor) -> Tensor:
    """The scale of each output channel [outputs] of a weight [outputs, …], so that its largest number is ±63."""
    return (weight.detach().abs().flatten(1).amax(dim=1) / WEIGHT_LIMIT).clamp_min(_SMALLEST)


def input_scale(limits: Tensor) -> tuple[Tensor, Tensor]:
    """(scale, zero point) of a layer's inputs, float32 and int32 scalars, for their lowest and highest number [2].

    The range is widened to contain 0, which so is exact: padding and what ReLU cuts off are.
    """
    low, high = limits[0].clamp(max=0.0), limits[1].clamp(min=0.0)
    scale = ((high - low) / INPUT_LIMIT).clamp_min(_SMALLEST)
    return scale, torch.round(-low / scale).clamp(0, INPUT_LIMIT).to(torch.int32)
