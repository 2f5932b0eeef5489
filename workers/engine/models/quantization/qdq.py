"""The arithmetic of a network that was trained with rounded weights and inputs, as nodes of a graph.

A layer becomes QuantizeLinear and DequantizeLinear of its inputs, and DequantizeLinear of its weight in integers:
ONNX Runtime runs these as one operator on integers where it has one.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.onnx.ops import symbolic

from app.contracts.resources.graph_names import OPSET
from workers.engine.models.modules import QuantizationPoint
from workers.engine.models.quantization.arithmetic import WEIGHT_LIMIT, input_scale, weight_scales
from workers.engine.models.quantization.layers import Layer, applied, layers_of, replace_forward


def quantize_layers(network: nn.Module, ranges: Mapping[str, Tensor]) -> None:
    """Make the layers of a network compute on integers once it is exported; in place, for a copy that is exported and
    then dropped. `ranges`: those of the inputs [2] by the layers' names.
    """
    for name, layer in layers_of(network).items():
        scale, zero_point = input_scale(ranges[name])
        layer.register_buffer("input_scale", scale)
        layer.register_buffer("input_zero_point", zero_point.to(torch.uint8))
        replace_forward(layer, _forward)
        if isinstance(layer, QuantizationPoint):
            continue
        scales = weight_scales(layer.weight)
        shape = (-1, *[1] * (layer.weight.dim() - 1))
        integers = torch.round(layer.weight.detach() / scales.reshape(shape)).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
        layer.register_buffer("integers", integers.to(torch.int8))
        layer.register_buffer("scales", scales)
        layer.register_buffer("zeros", torch.zeros_like(scales, dtype=torch.int8))
        del layer.weight


def _forward(layer: Layer, x: Tensor) -> Tensor:
    if isinstance(layer, QuantizationPoint):
        return _rounded(layer, x)
    if isinstance(layer, nn.Linear) and x.dim() > 2:  # a MatMul, which needs its weight the other way round
        product = _rounded(layer, x) @ _weight(layer, layer.get_buffer("integers").T.contiguous(), axis=1)
        return product if layer.bias is None else product + layer.bias
    return applied(layer, _rounded(layer, x), _weight(layer, layer.get_buffer("integers"), axis=0))


def _rounded(layer: Layer, x: Tensor) -> Tensor:
    scale = layer.get_buffer("input_scale"), layer.get_buffer("input_zero_point")
    integers = _node("QuantizeLinear", (x, *scale), torch.uint8, x)
    return _node("DequantizeLinear", (integers, *scale), torch.float32, x)


def _weight(layer: Layer, integers: Tensor, axis: int) -> Tensor:
    inputs = integers, layer.get_buffer("scales"), layer.get_buffer("zeros")
    return _node("DequantizeLinear", inputs, torch.float32, integers, axis=axis)


def _node(operator: str, inputs: tuple[Tensor, ...], dtype: torch.dtype, like: Tensor, **attributes: int) -> Tensor:
    """A node of the graph whose output has the shape of `like`."""
    return symbolic(operator, inputs, dict(attributes), dtype=dtype, shape=like.shape, version=OPSET)
