"""CIFAR-style residual networks."""

from typing import ClassVar, Literal

from pydantic import Field

from app.contracts.problems import Problem
from app.contracts.specs.families.family import Activation, BuiltFamily, RowSides, StartsFromTeacher, Width
from app.contracts.specs.families.structure import Conv, FeatureMaps, Group, Norm, Shape, Stage, Trunk

_CHANNELS = (16, 32, 64)
"""Channels of the stages at width 1."""


class Resnet(BuiltFamily):
    """CIFAR-style residual network of basic blocks (He 2016): depth 6n+2, three stages of 16, 32, 64 x width.

    resnet20 is depth 20; resnet8x4 is depth 8, width 4, stem 32; resnet32x4 is depth 32, width 4, stem 32.
    Names: `stem.conv`, `stem.norm`, `stages.<s>.<b>.{conv1,norm1,conv2,norm2,shortcut.conv,shortcut.norm}`,
    and the heads as in `mlp` (`layers.0` with one output).
    """

    has_feature_maps: ClassVar = True

    family: Literal["resnet"]
    depth: int = Field(
        default=20, ge=8, le=200, description="Number of layers: 6n+2 for n basic blocks in each of the three stages."
    )
    width: int = Field(default=1, ge=1, le=16, description="Factor on the 16, 32 and 64 channels of the three stages.")
    stem: Width = Field(default=16, description="Number of channels of the first convolution.")
    activation: Activation = Field(default="relu", description="Activation function of the stem and the blocks.")

    @property
    def input_sides(self) -> RowSides:
        return (("channels", "height", "width"),)

    def _trunk(self, input_shape: Shape) -> Trunk:
        channels, *size = input_shape
        maps = (self.stem, *size)
        stem = Group("stem", _conv_norm("", channels, maps, kernel=3))
        stages = []
        for s, base in enumerate(_CHANNELS):
            inputs, height, width = maps
            stride = 1 if s == 0 else 2
            maps = (base * self.width, -(-height // stride), -(-width // stride))
            stages.append(Stage((self._stage(s, inputs, maps, stride),), maps))
        shapes = tuple(stage.shape for stage in stages)
        return Trunk(tuple(stages), maps[0], begin=(stem,), maps=FeatureMaps(shapes, 2, "batch"))

    def _stage(self, s: int, inputs: int, maps: Shape, stride: int) -> Group:
        first = _block("0", inputs, maps, stride)
        rest = tuple(_block(f"{b}", maps[0], maps) for b in range(1, (self.depth - 2) // 6))
        return Group(f"stages.{s}", (first, *rest), "stage", maps)

    def misfits(self, input_shape: Shape) -> list[Problem]:
        if (self.depth - 2) % 6 == 0:
            return []
        detail = f"a resnet's depth is 6n+2 (8, 14, 20, 26, 32 …), found {self.depth}"
        return [Problem(pointer="/depth", code="bad_depth", detail=detail)]


def _block(name: str, inputs: int, maps: Shape, stride: int = 1) -> Group:
    """A basic block; its shortcut is a 1x1 convolution where shapes change, and the identity elsewhere."""
    changes = stride != 1 or inputs != maps[0]
    parts = (
        *_conv_norm("1", inputs, maps, kernel=3, stride=stride),
        *_conv_norm("2", maps[0], maps, kernel=3),
        Group("shortcut", _conv_norm("", inputs, maps, kernel=1, stride=stride) if changes else ()),
    )
    return Group(name, parts, "block", maps)


def _conv_norm(suffix: str, inputs: int, maps: Shape, *, kernel: int, stride: int = 1) -> tuple[Conv, Norm]:
    conv = Conv(f"conv{suffix}", inputs, maps[0], kernel, maps[1:], stride)
    return conv, Norm(f"norm{suffix}", "batch", maps)


class StudentResnet(StartsFromTeacher, Resnet):
    """A resnet as a student."""
