"""Several inputs of a dataset as one tensor of rows, and the parts of it that a model reads.

One input is kept as it is: [N, *shape]. Several are flattened and concatenated in the manifest's order: [N, numbers].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

from app.contracts.resources.inputs.encoded_names import is_encoded_name
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.resources.manifests import InputTransform
from workers.engine.data.formats.files.encoded import EncodedRows, RawRows
from workers.engine.data.transform import apply_in_shape

Shape = tuple[int, ...]
IDENTITY = InputTransform()


@dataclass(frozen=True)
class InputLayout:
    """The inputs of raw rows in order, with the shape of one row of each."""

    shapes: Mapping[str, Shape]
    tokens: Mapping[str, TokenEncoding] = field(default_factory=dict)
    """What the ids are, of inputs of texts."""

    @classmethod
    def of(cls, inputs: Mapping[str, RawRows]) -> "InputLayout":
        """The layout of rows [N, *shape]."""
        return cls({name: tuple(values.shape[1:]) for name, values in inputs.items()})

    @property
    def own_shapes(self) -> Mapping[str, Shape]:
        """The shapes without those of texts that are read again by other tokenizers."""
        return {name: shape for name, shape in self.shapes.items() if not is_encoded_name(name)}

    def part(self, raw: Tensor, name: str) -> Tensor:
        """One input [n, *shape] of raw rows."""
        if len(self.shapes) == 1:
            return raw
        first = 0
        for other, shape in self.shapes.items():
            if other == name:
                return raw[:, first : first + prod(shape)].reshape(len(raw), *shape)
            first += prod(shape)
        raise KeyError(name)

    def select(self, raw: Tensor, names: Sequence[str]) -> Tensor:
        """The rows that a model of one tensor reads: one input in its shape, or several as [n, numbers]."""
        if tuple(names) == tuple(self.shapes):
            return raw
        return joined([self.part(raw, name) for name in names])

    def rows(self, raw: RawRows, names: Sequence[str]) -> RawRows:
        """`select` of all rows of a dataset; encoded ones are those of its only input."""
        return raw if isinstance(raw, EncodedRows) else self.select(raw, names)

    def only(self, names: Sequence[str]) -> "InputLayout":
        """The layout of `select(raw, names)`."""
        tokens = {name: self.tokens[name] for name in names if name in self.tokens}
        return InputLayout({name: self.shapes[name] for name in names}, tokens)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Tensors [n, …] as one: a single one as it is, several flattened to [n, numbers]."""
    if len(parts) == 1:
        return parts[0]
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def transformed(
    raw: Tensor, layout: InputLayout, transforms: Mapping[str, InputTransform], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Raw rows of this layout, each input by its own transform (identity where it has none), in `dtype`: `joined`."""
    parts = {
        name: _in_shape(layout.part(raw, name), shape, transforms.get(name)) for name, shape in layout.shapes.items()
    }
    return joined([apply_in_shape(part, transforms.get(name, IDENTITY), None, dtype) for name, part in parts.items()])


def _in_shape(rows: Tensor, shape: Shape, transform: InputTransform | None) -> Tensor:
    """Rows [n, …] as a transform takes them; those of tokens have any width."""
    if transform is not None and transform.tokens is not None:
        return rows
    return rows.reshape(len(rows), *shape)


def joined_transform(transforms: Mapping[str, InputTransform], layout: InputLayout) -> InputTransform:
    """One transform for the joined rows of flat inputs, with a mean and a deviation for each element.

    Where the inputs differ in their scale it is divided out of both: (x s - m) / d = (x - m / s) / (d / s).
    """
    if len(layout.shapes) == 1:
        return transforms.get(next(iter(layout.shapes)), IDENTITY)
    each = [(transforms.get(name, IDENTITY), prod(shape)) for name, shape in layout.shapes.items()]
    first = each[0][0]
    single = not isinstance(first.mean, tuple) and not isinstance(first.std, tuple)
    if single and all(_numbers(transform) == _numbers(first) for transform, _ in each):
        return InputTransform(**_numbers(first))
    scale = first.scale if all(transform.scale == first.scale for transform, _ in each) else None
    mean: list[float] = []
    std: list[float] = []
    for transform, size in each:
        divisor = 1.0 if scale is not None else transform.scale
        mean += [value / divisor for value in _elements(transform.mean, size)]
        std += [value / divisor for value in _elements(transform.std, size)]
    return InputTransform(scale=scale if scale is not None else 1.0, mean=tuple(mean), std=tuple(std))


def _numbers(transform: InputTransform) -> dict[str, Any]:
    """What a transform does to numbers, without the columns that they come from."""
    return {name: getattr(transform, name) for name in ("scale", "mean", "std")}


def _elements(statistic: float | tuple[float, ...], size: int) -> list[float]:
    """A number for each of `size` elements; one for each channel is repeated over the channel's elements."""
    if not isinstance(statistic, tuple):
        return [statistic] * size
    return [value for value in statistic for _ in range(size // len(statistic))]
