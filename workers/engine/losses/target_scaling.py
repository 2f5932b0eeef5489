"""Numbers in the units of a network's outputs, standardised, and in the units of their labels."""

from typing import assert_never

import torch
from torch import Tensor

from app.contracts.resources.manifests import (
    ClassOutput,
    MapOutput,
    MultilabelOutput,
    OutputSpec,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)
from app.contracts.resources.row_layouts import is_large_offset


def scale_of(spec: OutputSpec, like: Tensor) -> tuple[Tensor, Tensor] | None:
    """(mean, deviation) [1] or [size] as `like`; None where numbers are in the units of their labels."""
    match spec:
        case ValueOutput():
            return like.new_tensor([spec.mean]), like.new_tensor([spec.std])
        case VectorOutput():
            if spec.mean is None or spec.std is None:
                return None
            return like.new_tensor(spec.mean), like.new_tensor(spec.std)
        case ClassOutput() | TokenClassOutput() | MapOutput() | MultilabelOutput():
            return None
        case _:
            assert_never(spec)


def has_large_offset(spec: OutputSpec) -> bool:
    """Whether float32 would round the numbers of this output, in the units of their labels, by more than 2⁻¹² of their
    standard deviation: then they are computed in float64.
    """
    match spec:
        case ValueOutput():
            return is_large_offset(spec.mean, spec.std)
        case VectorOutput():
            return spec.mean is not None and spec.std is not None and is_large_offset(spec.mean, spec.std)
        case ClassOutput() | TokenClassOutput() | MapOutput() | MultilabelOutput():
            return False
        case _:
            assert_never(spec)


def standardised(numbers: Tensor, spec: OutputSpec) -> Tensor:
    """[n, size] in the units of labels -> in the units of the network with this `spec`, float32 or narrower: numbers in
    float64 are centred before they are rounded.
    """
    scale = scale_of(spec, numbers)
    centred = numbers if scale is None else (numbers - scale[0]) / scale[1]
    return centred.float() if centred.dtype == torch.float64 else centred


def own_units(outputs: Tensor, spec: OutputSpec) -> Tensor:
    """The inverse of `standardised`."""
    scale = scale_of(spec, outputs)
    return outputs if scale is None else outputs * scale[1] + scale[0]


def predicted_numbers(values: Tensor, spec: OutputSpec) -> Tensor:
    """Values in the target's units, `output * std + mean`, as predictions files have them: float32, or float64 where
    float32 would round away their differences.
    """
    numbers = own_units(values.double(), spec)
    return numbers if values.dtype == torch.float64 or has_large_offset(spec) else numbers.float()
