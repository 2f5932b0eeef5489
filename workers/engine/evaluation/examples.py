"""What a model's answer shows of it: its outputs for three rows of raw numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from app.contracts.resources.facts import Examples
from app.contracts.resources.manifests import InputTransform
from workers.engine.common.eval_mode import evaluating
from workers.engine.data.rows.joined import InputLayout, joined, transformed
from workers.engine.models.families.map_head import as_map
from workers.engine.models.network import Network

MAX_ROW = 1 << 23
"""Rows of more elements are not run."""
MAX_SHOWN = 64


@dataclass(frozen=True)
class RawModel:
    """A model with its transforms. `forward` takes rows of `dtype` after the transform, several inputs joined."""

    layout: InputLayout
    transforms: Mapping[str, InputTransform]
    forward: Callable[[Tensor], dict[str, Tensor]]
    dtype: torch.dtype = torch.float32

    def predict(self, raw: Tensor) -> dict[str, Tensor]:
        """Raw rows, joined as in `layout` -> outputs [n, size]."""
        return self.forward(prepared(raw, self.layout, self.transforms, self.dtype))

    @property
    def row_size(self) -> int:
        """Elements of a row."""
        return sum(prod(shape) for shape in self.layout.shapes.values())


def prepared(
    raw: Tensor, layout: InputLayout, transforms: Mapping[str, InputTransform], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Raw rows as the file has them, joined as in `layout`, as the model's first layer reads them: in `dtype`."""
    last = {name for name, transform in transforms.items() if transform.layout == "channels_last"}
    if not last:
        return transformed(raw, layout, transforms, dtype)
    # Transforms take the channels in front.
    parts = {name: layout.part(raw, name) for name in layout.shapes}
    parts = {name: part.movedim(-1, 1) if name in last else part for name, part in parts.items()}
    layout = InputLayout({name: tuple(part.shape[1:]) for name, part in parts.items()})
    return transformed(joined(list(parts.values())), layout, transforms, dtype)


def plain_rows(shape: tuple[int, ...], largest: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Zeros, ones, and a ramp from 0 to below 1 over the elements of a row, or of whole numbers below `largest`."""
    size = prod(shape)
    ramp = torch.arange(size, dtype=dtype)
    ramp = ramp / size if largest is None else ramp % largest
    return torch.stack([torch.zeros_like(ramp), torch.ones_like(ramp), ramp]).reshape(3, *shape)


def network_outputs(network: Network, x: Tensor) -> dict[str, Tensor]:
    """Outputs in float32 [n, size] of rows after the transform, in evaluation mode, in memory of the host."""
    device = next(network.parameters()).device
    with evaluating(network):
        return {name: values.float().cpu() for name, values in network(x.to(device)).items()}


def outputs_as_in_files(network: Network, x: Tensor) -> dict[str, Tensor]:
    """`network_outputs` as graphs and reference rows have them: maps [n, classes · height · width]."""
    shapes = network.architecture.map_shapes
    return {
        name: as_map(values, shapes[name]).flatten(1) if name in shapes else values
        for name, values in network_outputs(network, x).items()
    }


def network_examples(model: RawModel) -> Examples:
    """The outputs of a network for plain rows; empty for rows of more than MAX_ROW elements, and for texts."""
    if model.row_size > MAX_ROW or any(each.tokens is not None for each in model.transforms.values()):
        return {}
    shapes = list(model.layout.shapes.values())
    return examples_of(model.predict(plain_rows(shapes[0] if len(shapes) == 1 else (model.row_size,))))


def examples_of(outputs: Mapping[str, Tensor]) -> Examples:
    """Outputs as they are shown: at most 64 numbers a row, those of tokens one after another; outputs that are not
    finite are left out.
    """
    return {
        name: tuple(tuple(row[:MAX_SHOWN]) for row in values.flatten(1).tolist())
        for name, values in outputs.items()
        if bool(values.isfinite().all())
    }
