"""One task's cut of a student of several tasks: the network that computes that task's output alone.

A cut leaves out what the output does not depend on. Of `hard` and `trunks` it is a network of the family without
sharing, under the family's own names; of `mmoe`, `cgc` and `mtan` the same scheme with one output, and of
`cross_stitch` with all of its towers, as each stitch reads them all.
"""

from typing import assert_never

from app.contracts.layouts.summary import buffer_shapes, layers, parameter_shapes
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.families.structure import Shape
from app.contracts.specs.sharing import (
    CgcSharing,
    CrossStitchSharing,
    MmoeSharing,
    MtanSharing,
    TrunksSharing,
    resolved_sharing,
    scheme_of,
)


def cut_architecture(architecture: Architecture, task: str) -> Architecture:
    """The architecture of one task's cut; `architecture` is resolved and has that output. Raises KeyError."""
    outputs = dict(architecture.outputs or {})
    scheme = scheme_of(architecture.sharing)
    match scheme:
        case TrunksSharing():
            sharing = resolved_sharing("hard", ())
        case CrossStitchSharing():
            sharing = resolved_sharing(scheme, tuple(sorted(outputs)))
        case MmoeSharing() | CgcSharing() | MtanSharing() | None:
            sharing = architecture.sharing
        case _:
            assert_never(scheme)
    return architecture.with_outputs({task: outputs[task]}).model_copy(update={"sharing": sharing})


def cut_tensors(architecture: Architecture, task: str) -> dict[str, str]:
    """Tensor of the cut -> tensor of the whole student that has its bytes."""
    cut = cut_architecture(architecture, task)
    scheme, names = scheme_of(architecture.sharing), [*parameter_shapes(cut), *buffer_shapes(cut)]
    if scheme is not None and not isinstance(scheme, TrunksSharing):
        return {name: name for name in names}
    if len(architecture.outputs or {}) == 1 and scheme is None:
        return {name: name for name in names}
    trunk = f"trunks.{_group(scheme, task)}." if isinstance(scheme, TrunksSharing) else ""
    head = f"{cut.trunk().head_name}."
    return {name: f"heads.{task}.{name[len(head) :]}" if name.startswith(head) else trunk + name for name in names}


def _group(scheme: TrunksSharing, task: str) -> int:
    return next(g for g, group in enumerate(scheme.groups) if task in group)


def reached_layers(architecture: Architecture, task: str) -> dict[str, Shape | None]:
    """The layers that a task's terms may tap: under `hard` all, otherwise those on which its output depends."""
    shapes = {layer.name: layer.shape for layer in layers(architecture)}
    scheme = scheme_of(architecture.sharing)
    if scheme is None:
        return shapes
    if isinstance(scheme, TrunksSharing):
        own = (f"trunks.{_group(scheme, task)}.", f"penultimate.{task}", f"heads.{task}")
        return {name: shape for name, shape in shapes.items() if name in own[1:] or name.startswith(own[0])}
    left = {layer.name for layer in layers(cut_architecture(architecture, task))}
    return {name: shape for name, shape in shapes.items() if name in left}
