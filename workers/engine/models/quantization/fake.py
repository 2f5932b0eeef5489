"""Quantization-aware training: a network whose layers compute with rounded weights and inputs, in float32.

Rounding passes gradients straight through, and clipped inputs get none (Jacob et al. 2018, section 3). The range of a
layer's inputs is a moving average of the ranges of its batches, which is frozen in the last part of the training, so
that the weights are trained for the ranges that are exported.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from workers.engine.models.quantization.arithmetic import INPUT_LIMIT, WEIGHT_LIMIT, input_scale, weight_scales
from workers.engine.models.quantization.layers import Layer, applied, layers_of, replace_forward, restore_forward

RANGE = "input_range"
"""Name of the buffer of a layer that holds the lowest and highest number of its inputs, float32 [2]."""
_NEW_SHARE = 0.05
"""Weight of a batch in the moving average of ranges."""
_OBSERVED = 0.5
"""Share of the quantized steps in which ranges follow the batches; then they are frozen."""


class FakeQuantization:
    """Quantizes the layers of a network in training, from the share `begin` of the steps on.

    The ranges are buffers of the layers, so that they are part of checkpoints and of the best weights. `remove` takes
    them out again.
    """

    def __init__(self, network: nn.Module, begin: float) -> None:
        self._layers = layers_of(network)
        self._begin = begin
        self._frozen_from = begin + _OBSERVED * (1.0 - begin)
        self.active = False
        """Whether the layers compute with rounded numbers."""
        self._observing = False
        for layer in self._layers.values():
            layer.register_buffer(RANGE, layer.weight.new_zeros(2, dtype=torch.float32))
            replace_forward(layer, self._forward)

    def enter(self, progress: float) -> None:
        """Begin a step; `progress` is its share of all steps, from 0 to 1."""
        self.active = progress >= self._begin
        self._observing = self.active and progress < self._frozen_from

    def _forward(self, layer: Layer, x: Tensor) -> Tensor:
        if not self.active:
            return applied(layer, x, layer.weight)
        limits = layer.get_buffer(RANGE)
        if self._observing and layer.training:
            _follow(limits, x)
        with torch.autocast(x.device.type, enabled=False):  # integers times scales are not exact in bfloat16
            return applied(layer, rounded_input(x.float(), limits), rounded_weight(layer.weight))

    def remove(self) -> dict[str, Tensor]:
        """Make the network an ordinary one with the same weights; returns the range of each layer's inputs by name."""
        found = {}
        for name, layer in self._layers.items():
            found[name] = layer.get_buffer(RANGE).detach().cpu()
            delattr(layer, RANGE)
            restore_forward(layer)
        return found


def simulated(network: nn.Module, ranges: Mapping[str, Tensor]) -> FakeQuantization:
    """Make an ordinary network compute with rounded weights and inputs, in these ranges."""
    quantization = FakeQuantization(network, begin=0.0)
    for name, layer in quantization._layers.items():
        layer.get_buffer(RANGE).copy_(ranges[name])
    quantization.enter(1.0)
    return quantization


@torch.no_grad()
def _follow(limits: Tensor, x: Tensor) -> None:
    """Move a range [2] towards that of x; the first batch sets it."""
    batch = torch.stack(x.detach().float().aminmax())
    unset = (limits == 0.0).all()
    limits.copy_(torch.where(unset, batch, torch.lerp(limits, batch, _NEW_SHARE)))


def rounded_input(x: Tensor, limits: Tensor) -> Tensor:
    """X in 256 steps over the range `limits` [2], with straight-through gradients inside it."""
    scale, zero_point = input_scale(limits)
    rounded: Tensor = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, INPUT_LIMIT)
    return rounded


def rounded_weight(weight: Tensor) -> Tensor:
    """A weight [outputs, …] in steps of its channel's scale, with straight-through gradients."""
    scales = weight_scales(weight)
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT)
