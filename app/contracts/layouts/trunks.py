"""The trunk of each family as a layout: what comes first, the stages, what comes last.

Schemes of sharing stitch or attend between stages; run one after the other they are the family's network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from app.contracts.layouts.layer_table import Shape, Sheet
from app.contracts.specs.architectures import Architecture, Convnet, Mlp, Resnet, Transformer

RESNET_STAGES = (16, 32, 64)
Write = Callable[[Sheet], None]


@dataclass(frozen=True)
class Stage:
    """A stage of a trunk, and the shape of what it hands on."""

    write: Write
    shape: Shape


@dataclass(frozen=True)
class Trunk:
    """`features` numbers come out of it; `maps` are the shapes inside the convolutional stages, before halving."""

    begin: Write
    stages: tuple[Stage, ...]
    end: Write
    features: int
    maps: tuple[Shape, ...] = ()

    def write(self, sheet: Sheet) -> None:
        """All of it."""
        self.begin(sheet)
        for stage in self.stages:
            stage.write(sheet)
        self.end(sheet)


def _nothing(sheet: Sheet) -> None:
    """No layer."""


def trunk_of(arch: Architecture) -> Trunk:
    """The trunk of a resolved architecture. Raises ValueError on one that is not."""
    if arch.input_shape is None or arch.outputs is None:
        raise ValueError("a layout needs a resolved architecture: `input_shape` and `outputs` are missing")
    if isinstance(arch, Mlp):
        return _mlp(arch, arch.input_shape)
    if isinstance(arch, Transformer):
        return _transformer(arch, arch.input_shape)
    return _convnet(arch, arch.input_shape) if isinstance(arch, Convnet) else _resnet(arch, arch.input_shape)


def next_layer(arch: Architecture) -> int:
    """How many fully connected layers come before the heads: the number of the head where there is one."""
    return len(arch.hidden) if isinstance(arch, Mlp | Convnet) else 0


def _hidden(i: int, inputs: int, outputs: int, normalization: str = "none") -> Stage:
    def write(sheet: Sheet) -> None:
        sheet.linear(f"layers.{i}", inputs, outputs)
        sheet.norm(f"norms.{i}", normalization, (outputs,))

    return Stage(write, (outputs,))


def _mlp(arch: Mlp, shape: Shape) -> Trunk:
    widths = (prod(shape), *arch.hidden)
    stages = tuple(_hidden(i, *pair, arch.normalization) for i, pair in enumerate(pairwise(widths)))
    return Trunk(_nothing, stages, _nothing, widths[-1])


def _convnet(arch: Convnet, shape: Shape) -> Trunk:
    channels, height, width = shape
    stages, maps = [], []
    for s, wide in enumerate(arch.channels):
        maps.append((wide, height, width))
        stages.append(Stage(_plain_stage(arch, s, channels, maps[-1]), (wide, height // 2, width // 2)))
        channels, height, width = wide, height // 2, width // 2
    widths = (channels * (height * width if arch.pooling == "flatten" else 1), *arch.hidden)
    stages += [_hidden(i, *pair) for i, pair in enumerate(pairwise(widths))]
    return Trunk(_nothing, tuple(stages), _nothing, widths[-1], tuple(maps))


def _plain_stage(arch: Convnet, s: int, inputs: int, maps: Shape) -> Write:
    def write(sheet: Sheet) -> None:
        wide, size = maps[0], maps[1:]
        for b in range(arch.blocks):
            bias = arch.normalization == "none"
            sheet.conv(f"stages.{s}.{b}.conv", inputs if b == 0 else wide, wide, 3, size, bias=bias)
            sheet.norm(f"stages.{s}.{b}.norm", arch.normalization, maps)
            sheet.passing(f"stages.{s}.{b}", "block", maps)
        sheet.stage(f"stages.{s}", maps)

    return write


def _resnet(arch: Resnet, shape: Shape) -> Trunk:
    inputs, height, width = shape

    def begin(sheet: Sheet) -> None:
        sheet.conv("stem.conv", inputs, arch.stem, 3, shape[1:], bias=False)
        sheet.norm("stem.norm", "batch", (arch.stem, *shape[1:]))

    stages: list[Stage] = []
    channels = arch.stem
    for s, base in enumerate(RESNET_STAGES):
        stride = 1 if s == 0 else 2
        maps = (base * arch.width, -(-height // stride), -(-width // stride))
        stages.append(Stage(_residual_stage(arch, s, channels, maps, stride), maps))
        channels, height, width = maps
    return Trunk(begin, tuple(stages), _nothing, channels, tuple(stage.shape for stage in stages))


def _residual_stage(arch: Resnet, s: int, inputs: int, maps: Shape, stride: int) -> Write:
    def write(sheet: Sheet) -> None:
        for b in range((arch.depth - 2) // 6):
            first = b == 0
            _basic_block(
                sheet, f"stages.{s}.{b}", inputs if first else maps[0], maps[0], maps[1:], stride if first else 1
            )
            sheet.passing(f"stages.{s}.{b}", "block", maps)
        sheet.stage(f"stages.{s}", maps)

    return write


def _basic_block(sheet: Sheet, name: str, inputs: int, outputs: int, size: Shape, stride: int) -> None:
    sheet.conv(f"{name}.conv1", inputs, outputs, 3, size, bias=False)
    sheet.norm(f"{name}.norm1", "batch", (outputs, *size))
    sheet.conv(f"{name}.conv2", outputs, outputs, 3, size, bias=False)
    sheet.norm(f"{name}.norm2", "batch", (outputs, *size))
    if stride != 1 or inputs != outputs:
        sheet.conv(f"{name}.shortcut.conv", inputs, outputs, 1, size, bias=False)
        sheet.norm(f"{name}.shortcut.norm", "batch", (outputs, *size))


def _transformer(arch: Transformer, shape: Shape) -> Trunk:
    tokens, features = shape
    inside = (tokens, arch.width)

    def begin(sheet: Sheet) -> None:
        sheet.linear("embed", features, arch.width, (tokens,))
        sheet.weight("positions", "positions", inside, inside)

    def end(sheet: Sheet) -> None:
        sheet.norm("norm", "layer", inside)

    stages = tuple(Stage(_block(arch, i, tokens), inside) for i in range(arch.depth))
    return Trunk(begin, stages, end, arch.width)


def _block(arch: Transformer, i: int, tokens: int) -> Write:
    def write(sheet: Sheet) -> None:
        _encoder_block(sheet, f"blocks.{i}", arch, tokens)
        sheet.passing(f"blocks.{i}", "block", (tokens, arch.width))

    return write


def _encoder_block(sheet: Sheet, name: str, arch: Transformer, tokens: int) -> None:
    sheet.norm(f"{name}.norm1", "layer", (tokens, arch.width))
    for part in ("query", "key", "value"):
        sheet.linear(f"{name}.{part}", arch.width, arch.width, (tokens,))
    sheet.cost(4 * tokens * tokens * arch.width)  # queries with keys, and their weights with values
    sheet.linear(f"{name}.out", arch.width, arch.width, (tokens,))
    sheet.norm(f"{name}.norm2", "layer", (tokens, arch.width))
    sheet.linear(f"{name}.up", arch.width, arch.inner, (tokens,))
    sheet.linear(f"{name}.down", arch.inner, arch.width, (tokens,))
