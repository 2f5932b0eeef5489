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
from workers.engine.models.network import Network

MAX_ROW = 1 << 23
"""Rows of more elements are not run."""
MAX_SHOWN = 64


@dataclass(frozen=True)
class RawModel:
    """A model with its transforms. `forward` takes float32 rows after the transform, several inputs joined."""

    layout: InputLayout
    transforms: Mapping[str, InputTransform]
    forward: Callable[[Tensor], dict[str, Tensor]]

    def predict(self, raw: Tensor) -> dict[str, Tensor]:
        """Raw rows, joined as in `layout` -> outputs [n, size]."""
        last = {name for name, transform in self.transforms.items() if transform.layout == "channels_last"}
        if not last:
            return self.forward(transformed(raw, self.layout, self.transforms))
        # Raw rows are as the file has them; transforms take the channels in front.
        parts = {name: self.layout.part(raw, name) for name in self.layout.shapes}
        parts = {name: part.movedim(-1, 1) if name in last else part for name, part in parts.items()}
        layout = InputLayout({name: tuple(part.shape[1:]) for name, part in parts.items()})
        return self.forward(transformed(joined(list(parts.values())), layout, self.transforms))

    @property
    def row_size(self) -> int:
        """Elements of a row."""
        return sum(prod(shape) for shape in self.layout.shapes.values())


def plain_rows(shape: tuple[int, ...], largest: int | None = None) -> Tensor:
    """Zeros, ones, and a ramp from 0 to below 1 over the elements of a row, or of whole numbers below `largest`."""
    size = prod(shape)
    ramp = torch.arange(size, dtype=torch.float32)
    ramp = ramp / size if largest is None else ramp % largest
    return torch.stack([torch.zeros(size), torch.ones(size), ramp]).reshape(3, *shape)


def network_outputs(network: Network, x: Tensor) -> dict[str, Tensor]:
    """Outputs in float32 [n, size] of rows after the transform, in evaluation mode, in memory of the host."""
    device = next(network.parameters()).device
    with evaluating(network):
        return {name: values.float().cpu() for name, values in network(x.to(device)).items()}


def network_examples(model: RawModel) -> Examples:
    """The outputs of a network for plain rows; empty for rows of more than MAX_ROW elements."""
    if model.row_size > MAX_ROW:
        return {}
    shapes = list(model.layout.shapes.values())
    return examples_of(model.predict(plain_rows(shapes[0] if len(shapes) == 1 else (model.row_size,))))


def examples_of(outputs: Mapping[str, Tensor]) -> Examples:
    """Outputs as they are shown: at most 64 numbers a row; those that are not finite are left out."""
    return {
        name: tuple(tuple(row[:MAX_SHOWN]) for row in values.tolist())
        for name, values in outputs.items()
        if bool(values.isfinite().all())
    }
