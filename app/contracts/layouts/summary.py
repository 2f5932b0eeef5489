"""What a network consists of, without building it: parameter names and shapes, layers, FLOPs.

Pure arithmetic on a resolved architecture, so that the API can answer a dry run without torch. The engine builds its
networks from the same description (`app.contracts.specs.families.structure`). FLOPs follow torch's own counter: two for
each multiply-add of a convolution, linear layer or product of matrices, nothing for the rest.
"""

from app.contracts.layouts.layer_table import LayerTable, TableWriter
from app.contracts.layouts.sharing import add_scheme
from app.contracts.resources.facts import Layer, ModelFacts
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.families.structure import Linear, Shape
from app.contracts.specs.sharing import scheme_of


def layer_table(arch: Architecture) -> LayerTable:
    """Everything below in one table. Raises ValueError on an architecture that is not resolved."""
    trunk, writer, scheme = arch.trunk(), TableWriter(), scheme_of(arch.sharing)
    if scheme is not None:
        add_scheme(scheme, arch, writer)
        return writer.table
    outputs = dict(arch.outputs or {})
    writer.add(trunk.parts)
    if outputs.keys() - arch.map_shapes.keys() or not outputs:
        writer.named_output("penultimate", "features", (trunk.features,))
    for name, size in outputs.items():
        head = trunk.head_name if len(outputs) == 1 else f"heads.{name}"
        if name in arch.map_shapes:
            assert trunk.maps is not None, "only families with feature maps have outputs that are maps"
            writer.map_head(head, trunk.maps.shapes, size)
        else:
            writer.add([Linear(head, trunk.features, size)])
    return writer.table


def parameter_shapes(arch: Architecture) -> dict[str, Shape]:
    """Trainable parameters by name."""
    return layer_table(arch).parameters


def buffer_shapes(arch: Architecture) -> dict[str, Shape]:
    """BatchNorm's statistics by name; `num_batches_tracked` is an int64 scalar."""
    return layer_table(arch).buffers


def layers(arch: Architecture) -> tuple[Layer, ...]:
    """The layers that a feature term may tap, in the order in which data pass them."""
    return tuple(layer_table(arch).layers)


def layers_of(facts: ModelFacts) -> dict[str, Shape | None]:
    """A model's layers by name, with the shape of one row where it is known."""
    listed = layers(facts.architecture) if facts.architecture is not None else facts.layers
    return {layer.name: layer.shape for layer in listed}


def parameter_count(arch: Architecture) -> int:
    """Number of trainable numbers."""
    return layer_table(arch).parameter_count


def flops(arch: Architecture) -> int:
    """Floating-point operations of one row's forward pass."""
    return layer_table(arch).flops
