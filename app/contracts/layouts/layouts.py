"""What a network of ours consists of, without building it: parameter names and shapes, layers, FLOPs.

Pure arithmetic on a resolved architecture, so that the API can answer a dry run without torch. The engine's
networks have exactly these names, shapes and counts (held by test). FLOPs follow torch's own counter: two for
each multiply-add of a convolution, linear layer or product of matrices, nothing for the rest.
"""

from math import prod

from app.contracts.layouts.layer_table import Shape, Sheet, Tally
from app.contracts.layouts.sharing import write_scheme
from app.contracts.layouts.trunks import next_layer, trunk_of
from app.contracts.resources.facts import Layer, ModelFacts
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.sharing import scheme_of


def _tally(arch: Architecture) -> Tally:
    trunk, sheet, scheme = trunk_of(arch), Sheet(), scheme_of(arch.sharing)
    outputs = dict(arch.outputs or {})
    if scheme is not None:
        write_scheme(scheme, trunk, arch, sheet)
    else:
        trunk.write(sheet)
        sheet.heads(outputs, trunk.features, next_layer(arch))
    return sheet.tally


def parameter_shapes(arch: Architecture) -> dict[str, Shape]:
    """Trainable parameters by name. Raises ValueError on an architecture that is not resolved."""
    return _tally(arch).parameters


def buffer_shapes(arch: Architecture) -> dict[str, Shape]:
    """BatchNorm's statistics by name; `num_batches_tracked` is an int64 scalar."""
    return _tally(arch).buffers


def layers(arch: Architecture) -> tuple[Layer, ...]:
    """The layers that a feature term may tap, in the order in which data passes them."""
    return tuple(_tally(arch).layers)


def layers_of(facts: ModelFacts) -> dict[str, Shape | None]:
    """A model's layers by name, with the shape of one row where it is known."""
    found = layers(facts.architecture) if facts.architecture is not None else facts.layers
    return {layer.name: layer.shape for layer in found}


def parameter_count(arch: Architecture) -> int:
    """Trainable numbers."""
    return sum(prod(shape) for shape in _tally(arch).parameters.values())


def flops(arch: Architecture) -> int:
    """Floating-point operations of one row's forward pass."""
    return _tally(arch).flops
