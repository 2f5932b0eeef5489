"""The layouts of the schemes of sharing: trunks of a family, and what each scheme puts beside them."""

from math import prod

from app.contracts.layouts.layer_table import Shape, Sheet
from app.contracts.layouts.trunks import Trunk
from app.contracts.specs.architectures import Architecture, Convnet
from app.contracts.specs.sharing import (
    CgcSharing,
    CrossStitchSharing,
    MmoeSharing,
    MtanSharing,
    Scheme,
    TrunksSharing,
    towers_of,
)


def write_scheme(scheme: Scheme, trunk: Trunk, arch: Architecture, sheet: Sheet) -> None:
    """Everything of a network that shares by a scheme."""
    outputs = dict(arch.outputs or {})
    if isinstance(scheme, TrunksSharing):
        _trunks(scheme, trunk, outputs, sheet)
    elif isinstance(scheme, CrossStitchSharing):
        _cross_stitch(scheme, trunk, outputs, sheet)
    elif isinstance(scheme, MtanSharing):
        _mtan(trunk, arch, outputs, sheet)
    else:
        _experts(scheme, trunk, prod(arch.input_shape or ()), outputs, sheet)


def _trunks(scheme: TrunksSharing, trunk: Trunk, outputs: dict[str, int], sheet: Sheet) -> None:
    for g, group in enumerate(scheme.groups):
        trunk.write(sheet.below(f"trunks.{g}"))
        sheet.own_heads(outputs, trunk.features, group)


def _cross_stitch(scheme: CrossStitchSharing, trunk: Trunk, outputs: dict[str, int], sheet: Sheet) -> None:
    names = towers_of(scheme, outputs)
    towers = [sheet.below(f"towers.{name}") for name in names]
    for tower in towers:
        trunk.begin(tower)
    for s, stage in enumerate(trunk.stages):
        for tower in towers:
            stage.write(tower)
        # Not listed: what it puts out has a row for each tower first, so no term can tap it.
        sheet.times(1).weight(f"stitches.{s}", "stitch", stage.shape, (len(names), len(names)))
        sheet.cost(2 * len(names) ** 2 * prod(stage.shape))
    for name, tower in zip(names, towers, strict=True):
        trunk.end(tower if name in outputs else tower.times(0))
        if name in outputs:
            sheet.own_heads(outputs, trunk.features, [name])


def _experts(
    scheme: MmoeSharing | CgcSharing, trunk: Trunk, numbers: int, outputs: dict[str, int], sheet: Sheet
) -> None:
    """`numbers` of one row, which the gates read."""
    shared, own = (scheme.experts, 0) if isinstance(scheme, MmoeSharing) else (scheme.shared, scheme.own)
    place = "experts" if isinstance(scheme, MmoeSharing) else "shared"
    for i in range(shared):
        trunk.write(sheet.below(f"{place}.{i}"))
    for name in outputs:
        for i in range(own):
            trunk.write(sheet.below(f"experts.{name}.{i}"))
        sheet.linear(f"gates.{name}", numbers, shared + own)
        sheet.own_heads(outputs, trunk.features, [name])


def _mtan(trunk: Trunk, arch: Architecture, outputs: dict[str, int], sheet: Sheet) -> None:
    normalization = arch.normalization if isinstance(arch, Convnet) else "batch"
    body = sheet.below("trunk").by_blocks()
    trunk.begin(body)
    for s, maps in enumerate(trunk.maps):
        trunk.stages[s].write(body)
        if s > 0:
            passage = sheet.times(len(outputs))
            size, bias = _passed(arch, trunk, s), normalization == "none"
            passage.conv(f"passages.{s}", trunk.maps[s - 1][0], maps[0], 3, size, bias=bias)
        for name in outputs:
            _attention(sheet.below(f"attentions.{name}"), s, trunk, normalization, _passed(arch, trunk, s))
    for stage in trunk.stages[len(trunk.maps) :]:
        stage.write(body.times(len(outputs)))
    sheet.own_heads(outputs, trunk.features)


def _passed(arch: Architecture, trunk: Trunk, s: int) -> Shape:
    """Height and width behind the convolution into stage `s`: a convnet pools after it, a resnet strides in it."""
    return trunk.maps[max(0, s - 1) if isinstance(arch, Convnet) else s][1:]


def _attention(sheet: Sheet, s: int, trunk: Trunk, normalization: str, passed: Shape) -> None:
    maps, bias = trunk.maps[s], normalization == "none"
    channels, size = maps[0], maps[1:]
    if s > 0:
        sheet.norm(f"{s}.norm", normalization, (channels, *passed))
    sheet.conv(f"{s}.conv1", channels * (2 if s > 0 else 1), channels, 1, size, bias=bias)
    sheet.norm(f"{s}.norm1", normalization, maps)
    sheet.conv(f"{s}.conv2", channels, channels, 1, size, bias=bias)
    sheet.norm(f"{s}.norm2", normalization, maps)
    sheet.passing(f"{s}", "mask", maps)
