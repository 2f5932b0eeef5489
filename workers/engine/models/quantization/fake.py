"""Quantization-aware training: a network whose layers compute with rounded weights and inputs, in float32.

Rounding passes gradients straight through, and clipped inputs get none (Jacob et al. 2018, section 3). The range of a
layer's inputs is a moving average of the ranges of its batches, which is frozen in the last part of the training, so
that the weights are trained for the ranges that are exported.
"""

from collections.abc import Mapping
from math import ceil

import torch
from torch import Tensor, nn

from workers.engine.models.modules import QuantizationPoint
from workers.engine.models.quantization.arithmetic import INPUT_LIMIT, WEIGHT_LIMIT, input_scale, weight_scales
from workers.engine.models.quantization.layers import Layer, applied, layers_of, replace_forward, restore_forward

RANGE = "input_range"
"""Name of the buffer of a layer that holds the lowest and highest number of its inputs, float32 [2]."""
_NEW_SHARE = 0.05
"""Weight of a batch in the moving average of ranges."""
_OBSERVED = 0.5
"""Share of the quantized steps in which ranges follow the batches; then they are frozen."""


class FakeQuantization:
    """Quantizes the layers of a network in training, from the share `begin` of its `steps` on, at least in the last.

    The ranges are buffers of the layers, so that they are part of checkpoints and of the best weights. They change
    between steps only, by all rows of a batch: micro-batches and a second pass over them compute with the same ones.
    `remove` takes them out again.
    """

    def __init__(self, network: nn.Module, begin: float, steps: int) -> None:
        self._layers = layers_of(network)
        self._first = max(0, min(ceil(begin * steps), steps - 1))
        self._observed = range(max(0, self._first - 1), self._first + ceil(_OBSERVED * (steps - self._first)))
        """The steps whose batches the ranges follow: the one before the first quantized step gives them a start."""
        self.active = False
        """Whether quantized training has begun."""
        self._rounds = False
        """Whether the layers compute with rounded numbers: where quantized training has begun and ranges are known."""
        self._observing = False
        self._seen: dict[Layer, Tensor] = {}
        device = next(network.parameters()).device
        for layer in self._layers.values():
            layer.register_buffer(RANGE, torch.zeros(2, device=device))
            replace_forward(layer, self._forward)

    def begin_step(self, step: int) -> None:
        """Begin a step, counted from 0."""
        self.active = step >= self._first
        self._rounds = self.active and step > self._observed.start
        self._observing = step in self._observed
        self._seen = {}

    def end_step(self) -> None:
        """Move the ranges towards those of the step's batch."""
        for layer, batch in self._seen.items():
            _follow(layer.get_buffer(RANGE), batch)
        self._seen, self._observing = {}, False
        self._rounds = self.active

    def _forward(self, layer: Layer, x: Tensor) -> Tensor:
        if self._observing and layer.training:
            self._observe(layer, x)
        if not self._rounds:
            return x if isinstance(layer, QuantizationPoint) else applied(layer, x, layer.weight)
        with torch.autocast(x.device.type, enabled=False):  # integers times scales are not exact in bfloat16
            rounded = rounded_input(x.float(), layer.get_buffer(RANGE))
            return (
                rounded
                if isinstance(layer, QuantizationPoint)
                else applied(layer, rounded, rounded_weight(layer.weight))
            )

    @torch.no_grad()
    def _observe(self, layer: Layer, x: Tensor) -> None:
        """Widen the range that the step has seen so far."""
        low, high = x.detach().float().aminmax()
        if layer in self._seen:
            low, high = torch.minimum(low, self._seen[layer][0]), torch.maximum(high, self._seen[layer][1])
        self._seen[layer] = torch.stack((low, high))

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
    quantization = FakeQuantization(network, begin=0.0, steps=1)
    for name, layer in quantization._layers.items():
        layer.get_buffer(RANGE).copy_(ranges[name])
    quantization.active = quantization._rounds = True
    return quantization


@torch.no_grad()
def _follow(limits: Tensor, batch: Tensor) -> None:
    """Move a range [2] towards that of a batch; the first batch sets it."""
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
