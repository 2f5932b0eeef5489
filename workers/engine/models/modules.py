"""torch modules from the description of a network's parts (`app.contracts.specs.families.structure`)."""

from collections.abc import Callable, Iterable, Mapping
from typing import assert_never

import torch
from torch import Tensor, nn

from app.contracts.specs.families.family import Activation
from app.contracts.specs.families.structure import (
    Conv,
    Group,
    GroupKind,
    Linear,
    MatrixProducts,
    MeasuredPart,
    Norm,
    Part,
    Positions,
)

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
GroupModules = Mapping[GroupKind, Callable[[], nn.Module]]
"""Kind of a group -> its module, which has a forward pass and no layers yet."""


class LearnedPositions(nn.Module):
    """Adds a learned vector to each token."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, D] -> [N, T, D]."""
        return x + self.weight


class QuantizationPoint(nn.Identity):
    """Values that become integers where a network is quantized, like the inputs of linear and convolution layers.

    Runtimes run a convolution on integers only if its output becomes integers as well, so a network has such a point
    where a convolution's output goes into a sum or a mean instead of a layer.
    """


def add_parts(parent: nn.Module, parts: Iterable[Part], groups: GroupModules) -> None:
    """Register the modules of parts under their names; `stages.0` becomes entry 0 of the ModuleList `stages`."""
    for part in parts:
        if isinstance(part, MatrixProducts | MeasuredPart):  # no modules of ours
            continue
        *lists, name = part.name.split(".")
        owner = parent
        for each in lists:
            if each not in owner._modules:
                owner.add_module(each, nn.ModuleList())
            owner = owner.get_submodule(each)
        owner.add_module(name, module_of(part, groups))


def module_of(part: Linear | Conv | Norm | Positions | Group, groups: GroupModules) -> nn.Module:
    """The module of one part. Groups without a module of their own run their layers one after the other."""
    match part:
        case Linear():
            return nn.Linear(part.inputs, part.outputs)
        case Conv():
            kernel, padding = part.kernel, part.kernel // 2
            conv = nn.Conv1d if len(part.size) == 1 else nn.Conv2d
            return conv(part.inputs, part.outputs, kernel, part.stride, padding, bias=part.bias)
        case Norm():
            return _norm(part)
        case Positions():
            return LearnedPositions(*part.shape)
        case Group():
            module = groups[part.kind]() if part.kind and part.kind in groups else nn.Sequential()
            add_parts(module, part.parts, groups)
            return module
        case _:
            assert_never(part)


def _norm(norm: Norm) -> nn.Module:
    match norm.kind:
        case "none":
            return nn.Identity()
        case "layer":
            return nn.LayerNorm(norm.shape[-1])
        case "batch":
            return (nn.BatchNorm2d if len(norm.shape) == 3 else nn.BatchNorm1d)(norm.shape[0])
        case _:
            assert_never(norm.kind)
