"""What is quantized in any network: linear and convolution layers, whatever module they are part of, and the points
that networks name (`modules.QuantizationPoint`).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from workers.engine.models.modules import QuantizationPoint

Weighted = nn.Linear | nn.Conv1d | nn.Conv2d
Layer = Weighted | QuantizationPoint
_FORWARDS = (nn.Linear.forward, nn.Conv1d.forward, nn.Conv2d.forward, QuantizationPoint.forward)


def layers_of(network: nn.Module) -> dict[str, Layer]:
    """The layers to quantize, by the names that they have in the network."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Layer)}


def computes_as_torch(layer: Layer) -> bool:
    """Whether a layer's forward pass is that of torch, which `applied` repeats: subclasses of libraries have others,
    and a parametrized weight is computed.
    """
    return type(layer).forward in _FORWARDS and not is_parametrized(layer)


def applied(layer: Weighted, x: Tensor, weight: Tensor) -> Tensor:
    """The layer's outputs for x with another weight of its shape, with its own bias."""
    if isinstance(layer, nn.Linear):
        return torch.nn.functional.linear(x, weight, layer.bias)
    maps: Tensor = layer._conv_forward(x, weight, layer.bias)
    return maps


def replace_forward(layer: Layer, forward: Callable[[Layer, Tensor], Tensor]) -> None:
    """Replace the forward pass of one layer, whose names, parameters and hooks stay."""
    layer.__dict__["forward"] = partial(forward, layer)


def restore_forward(layer: Layer) -> None:
    """The inverse of `replace_forward`."""
    del layer.__dict__["forward"]
