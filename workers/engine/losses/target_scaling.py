"""Numbers as a network puts them out, standardised, and in the units of their labels."""

from torch import Tensor

from app.contracts.resources.manifests import OutputSpec, ValueOutput, VectorOutput


def scale_of(spec: OutputSpec, like: Tensor) -> tuple[Tensor, Tensor] | None:
    """(mean, deviation) [1] or [size] as `like`; None where numbers are as their labels."""
    if isinstance(spec, ValueOutput):
        return like.new_tensor([spec.mean]), like.new_tensor([spec.std])
    if isinstance(spec, VectorOutput) and spec.mean is not None and spec.std is not None:
        return like.new_tensor(spec.mean), like.new_tensor(spec.std)
    return None


def standardised(numbers: Tensor, spec: OutputSpec) -> Tensor:
    """[n, size] in the units of labels -> as the network of `spec` puts them out."""
    scale = scale_of(spec, numbers)
    return numbers if scale is None else (numbers - scale[0]) / scale[1]


def own_units(outputs: Tensor, spec: OutputSpec) -> Tensor:
    """The inverse of `standardised`."""
    scale = scale_of(spec, outputs)
    return outputs if scale is None else outputs * scale[1] + scale[0]
