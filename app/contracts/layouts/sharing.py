"""The layer tables of the sharing schemes: trunks of a family, and what each scheme puts beside them."""

from collections.abc import Iterable
from math import prod
from typing import assert_never

from app.contracts.layouts.layer_table import TableWriter
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.families.structure import Conv, FeatureMaps, Group, Linear, Norm, Part, Trunk
from app.contracts.specs.sharing import (
    CgcSharing,
    CrossStitchSharing,
    MmoeSharing,
    MtanSharing,
    Scheme,
    TrunksSharing,
    towers_of,
)


def add_scheme(scheme: Scheme, arch: Architecture, writer: TableWriter) -> None:
    """Add a whole network that shares by a scheme."""
    trunk, outputs = arch.trunk(), dict(arch.outputs or {})
    match scheme:
        case TrunksSharing():
            _add_trunks(scheme, trunk, outputs, writer)
        case CrossStitchSharing():
            _add_cross_stitch(scheme, trunk, outputs, writer)
        case MtanSharing():
            _add_mtan(trunk, outputs, writer)
        case MmoeSharing():
            _add_experts(scheme.experts, 0, "experts", arch, writer)
        case CgcSharing():
            _add_experts(scheme.shared, scheme.own, "shared", arch, writer)
        case _:
            assert_never(scheme)


def _add_heads(outputs: dict[str, int], features: int, names: Iterable[str], writer: TableWriter) -> None:
    """Heads of the outputs with these names, each behind a `penultimate` of its own."""
    for name in names:
        writer.named_output(f"penultimate.{name}", "features", (features,))
        writer.add([Linear(f"heads.{name}", features, outputs[name])])


def _add_trunks(scheme: TrunksSharing, trunk: Trunk, outputs: dict[str, int], writer: TableWriter) -> None:
    for g, group in enumerate(scheme.groups):
        writer.below(f"trunks.{g}").add(trunk.parts)
        _add_heads(outputs, trunk.features, group, writer)


def _add_cross_stitch(scheme: CrossStitchSharing, trunk: Trunk, outputs: dict[str, int], writer: TableWriter) -> None:
    names = towers_of(scheme, outputs)
    towers = [writer.below(f"towers.{name}") for name in names]
    for tower in towers:
        tower.add(trunk.begin)
    for s, stage in enumerate(trunk.stages):
        for tower in towers:
            tower.add(stage.parts)
        # Not listed: the first dimension of its output is the towers, so no term can tap it.
        writer.add_parameter(f"stitches.{s}.weight", (len(names), len(names)))
        writer.add_flops(2 * len(names) ** 2 * prod(stage.shape))
    for name, tower in zip(names, towers, strict=True):
        if name in outputs:
            tower.add(trunk.end)
            _add_heads(outputs, trunk.features, [name], writer)
        else:
            tower.repeated(0).add(trunk.end)


def _add_experts(shared: int, own: int, shared_name: str, arch: Architecture, writer: TableWriter) -> None:
    """`shared` experts that every gate weighs, and `own` further ones of each output."""
    trunk, outputs = arch.trunk(), dict(arch.outputs or {})
    for i in range(shared):
        writer.below(f"{shared_name}.{i}").add(trunk.parts)
    for name in outputs:
        for i in range(own):
            writer.below(f"experts.{name}.{i}").add(trunk.parts)
        writer.add([Linear(f"gates.{name}", prod(arch.input_shape or ()), shared + own)])
        _add_heads(outputs, trunk.features, [name], writer)


def _add_mtan(trunk: Trunk, outputs: dict[str, int], writer: TableWriter) -> None:
    maps = trunk.maps
    if maps is None:
        raise ValueError("sharing by `mtan` needs a family with feature maps")
    body = writer.below("trunk").block_by_block()
    body.add(trunk.begin)
    convolutional, hidden = trunk.stages[: len(maps.shapes)], trunk.stages[len(maps.shapes) :]
    for s, stage in enumerate(convolutional):
        body.add(stage.parts)
        if s > 0:
            writer.below("passages").repeated(len(outputs)).add([passage(maps, s)])
        for name in outputs:
            writer.below(f"attentions.{name}").add([attention(maps, s)])
    for stage in hidden:
        body.repeated(len(outputs)).add(stage.parts)
    body.repeated(len(outputs)).add(trunk.end)
    _add_heads(outputs, trunk.features, outputs, writer)


def passage(maps: FeatureMaps, s: int) -> Conv:
    """MTAN's convolution into stage `s`: with the trunk's stride, or before its pooling."""
    size = maps.shapes[s if maps.stride > 1 else s - 1][1:]
    bias = maps.normalization == "none"
    return Conv(f"{s}", maps.shapes[s - 1][0], maps.shapes[s][0], 3, size, maps.stride, bias)


def attention(maps: FeatureMaps, s: int) -> Group:
    """MTAN's attention of one task in stage `s`; behind the first stage it also reads what comes from the one before,
    normalised by `norm`.
    """
    shape, bias = maps.shapes[s], maps.normalization == "none"
    channels, size = shape[0], shape[1:]
    inputs, parts = channels, list[Part]()
    if s > 0:
        inputs = 2 * channels
        parts.append(Norm("norm", maps.normalization, (channels, *passage(maps, s).size)))
    parts += [
        Conv("conv1", inputs, channels, 1, size, bias=bias),
        Norm("norm1", maps.normalization, shape),
        Conv("conv2", channels, channels, 1, size, bias=bias),
        Norm("norm2", maps.normalization, shape),
    ]
    return Group(f"{s}", tuple(parts), "mask", shape)
