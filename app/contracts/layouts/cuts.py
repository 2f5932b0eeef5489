"""One task's cut of a student of several tasks: the network that is left when only that task's output is asked for.

A cut drops what the task does not reach. Of `hard` and `trunks` it is a plain network of the family, under the family's
own names; of `mmoe`, `cgc` and `mtan` the same scheme with one output, and of `cross_stitch` with all of its towers, as
each stitch reads them all.
"""

from app.contracts.layouts.layer_table import Shape
from app.contracts.layouts.layouts import buffer_shapes, layers, parameter_shapes
from app.contracts.layouts.trunks import next_layer
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.sharing import CrossStitchSharing, TrunksSharing, scheme_of, settled


def cut_architecture(architecture: Architecture, task: str) -> Architecture:
    """The architecture of one task's cut; `architecture` is resolved and has that output. Raises KeyError."""
    outputs = dict(architecture.outputs or {})
    scheme = scheme_of(architecture.sharing)
    if isinstance(scheme, TrunksSharing):
        sharing = settled("hard", ())
    elif isinstance(scheme, CrossStitchSharing):
        sharing = settled(scheme, tuple(sorted(outputs)))
    else:
        sharing = architecture.sharing
    return architecture.model_copy(update={"outputs": {task: outputs[task]}, "sharing": sharing})


def cut_tensors(architecture: Architecture, task: str) -> dict[str, str]:
    """The cut's tensor -> the whole student's that it is, byte for byte."""
    cut = cut_architecture(architecture, task)
    scheme, names = scheme_of(architecture.sharing), [*parameter_shapes(cut), *buffer_shapes(cut)]
    if scheme is not None and not isinstance(scheme, TrunksSharing):
        return {name: name for name in names}
    if len(architecture.outputs or {}) == 1 and scheme is None:
        return {name: name for name in names}
    trunk = f"trunks.{_group(scheme, task)}." if isinstance(scheme, TrunksSharing) else ""
    head = f"layers.{next_layer(cut)}."
    return {name: f"heads.{task}.{name[len(head) :]}" if name.startswith(head) else trunk + name for name in names}


def _group(scheme: TrunksSharing, task: str) -> int:
    return next(g for g, group in enumerate(scheme.groups) if task in group)


def reached_layers(architecture: Architecture, task: str) -> dict[str, Shape | None]:
    """The layers that a task's terms may tap: under `hard` all, otherwise those that its output reaches."""
    found = {layer.name: layer.shape for layer in layers(architecture)}
    scheme = scheme_of(architecture.sharing)
    if scheme is None:
        return found
    if isinstance(scheme, TrunksSharing):
        own = (f"trunks.{_group(scheme, task)}.", f"penultimate.{task}", f"heads.{task}")
        return {name: shape for name, shape in found.items() if name in own[1:] or name.startswith(own[0])}
    left = {layer.name for layer in layers(cut_architecture(architecture, task))}
    return {name: shape for name, shape in found.items() if name in left}
