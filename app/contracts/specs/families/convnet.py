"""The plain convolutional network."""

from collections.abc import Collection, Mapping
from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from app.contracts.base import MapShape, Name, left_out
from app.contracts.problems import Problem
from app.contracts.specs.families.channel_sides import is_channels_last_suspected
from app.contracts.specs.families.family import Activation, BuiltFamily, RowSides, StartsFromTeacher, Width
from app.contracts.specs.families.structure import Conv, FeatureMaps, Group, Norm, Shape, Stage, Trunk, hidden_layer
from app.contracts.specs.sharing import scheme_of


class Convnet(BuiltFamily):
    """Plain convolutional network: stages of `blocks` times (conv 3x3, norm, activation), max-pooled by 2.

    Rows are images [channels, height, width], or series [channels, length] with convolutions of 3 along the length.
    Then average pooling or flattening, then `hidden` fully connected layers, then the heads. The head of an output in
    `maps` reads the maps of all stages instead, before they are pooled: a 1x1 convolution of each, brought to the size
    of the map by bilinear interpolation and summed (Long 2015, "Fully convolutional networks"; Hariharan 2015). Its
    weight is [classes, channels of all stages].
    Names: `stages.<s>.<b>.conv`, `stages.<s>.<b>.norm`, `layers.<i>`, and the heads as in `mlp`.
    """

    has_feature_maps: ClassVar = True

    family: Literal["convnet"]
    channels: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = Field(
        description="Number of channels of each stage; each stage halves height and width, or the length."
    )
    blocks: int = Field(default=1, ge=1, le=16, description="Number of convolutions in each stage.")
    hidden: Annotated[tuple[Width, ...], Field(max_length=8)] = Field(
        default=(), description="Widths of the fully connected layers before the heads."
    )
    pooling: Literal["average", "flatten"] | None = Field(
        default=None,
        description="How the feature maps of the last stage become one vector: their `average` over height and width "
        "(or the length), or all of them. When left out, chosen by the recipe for a network that a job trains, and "
        "`average` in the manifest of a model.",
    )
    activation: Activation = Field(
        default="relu", description="Activation function after each convolution and hidden layer."
    )
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Dropout probability before each fully connected layer."
    )
    normalization: Literal["none", "batch"] = Field(
        default="batch", description="Normalisation after each convolution."
    )

    maps: Annotated[dict[Name, MapShape], Field(min_length=1, max_length=64)] | None = Field(
        default=None,
        exclude_if=left_out,
        description="Outputs with logits for each pixel, by name: [height, width] of each. The service fills it in for "
        "targets of kind `map`.",
    )

    @property
    def input_sides(self) -> RowSides:
        return (("channels", "height", "width"), ("channels", "length"))

    @property
    def map_shapes(self) -> Mapping[str, MapShape]:
        return self.maps or {}

    def with_outputs(self, outputs: Mapping[str, int]) -> Self:
        maps = {name: shape for name, shape in self.map_shapes.items() if name in outputs}
        return super().with_outputs(outputs).model_copy(update={"maps": maps or None})

    def _trunk(self, input_shape: Shape) -> Trunk:
        inputs, sides = input_shape[0], input_shape[1:]
        stages, maps = [], []
        for s, outputs in enumerate(self.channels):
            maps.append((outputs, *sides))
            sides = tuple(side // 2 for side in sides)
            stages.append(Stage((self._stage(s, inputs, maps[-1]),), (outputs, *sides)))
            inputs = outputs
        widths = (inputs * (prod(sides) if self.pooling == "flatten" else 1), *self.hidden)
        stages += [Stage((hidden_layer(i, *pair),), (pair[1],)) for i, pair in enumerate(pairwise(widths))]
        return Trunk(tuple(stages), widths[-1], maps=FeatureMaps(tuple(maps), 1, self.normalization))

    def _stage(self, s: int, inputs: int, maps: Shape) -> Group:
        blocks = tuple(self._block(b, inputs if b == 0 else maps[0], maps) for b in range(self.blocks))
        return Group(f"stages.{s}", blocks, "stage", maps)

    def _block(self, b: int, inputs: int, maps: Shape) -> Group:
        conv = Conv("conv", inputs, maps[0], 3, maps[1:], bias=self.normalization == "none")
        return Group(f"{b}", (conv, Norm("norm", self.normalization, maps)), "block", maps)

    def misfits(self, input_shape: Shape) -> list[Problem]:
        sides = input_shape[1:]
        stages, most = len(self.channels), min(sides).bit_length() - 1
        if stages <= most:
            return []
        detail = f"{stages} stages halve {'x'.join(map(str, sides))} to nothing: at most {most} stages fit"
        if is_channels_last_suspected(input_shape):
            detail += (
                f'; if the last side has the channels ({input_shape[-1]}), set `"layout": "channels_last"` for the '
                "input in the dataset's manifest"
            )
        elif len(sides) == 2 and min(sides) == 1:
            series = [input_shape[0], max(sides)]
            detail += f"; a series has rows [channels, length]: give `shape` {series} in the dataset's manifest"
        return [Problem(pointer="/channels", code="too_many_stages", detail=detail)]


def map_misfits(network: Convnet, outputs: Collection[str]) -> list[Problem]:
    """What does not go with the maps of a network of these outputs; pointers start at the architecture."""
    if not network.map_shapes:
        return []
    problems = []
    if network.input_shape is not None and len(network.input_shape) != 3:
        detail = f"maps need rows of shape [channels, height, width], found {list(network.input_shape)}"
        problems.append(
            Problem(pointer="/input_shape", code="map_undefined", detail=f"{detail}: give images, or no maps")
        )
    unknown = sorted(set(network.map_shapes) - set(outputs))
    if unknown:
        detail = f"`maps` names {unknown}, and the outputs are {sorted(outputs)}: name outputs alone"
        problems.append(Problem(pointer="/maps", code="map_undefined", detail=detail))
    if scheme_of(network.sharing) is not None:
        detail = "networks with outputs that are maps share a whole trunk: leave `sharing` out, or `hard`"
        problems.append(Problem(pointer="/sharing", code="map_undefined", detail=detail))
    if network.hidden and not set(outputs) - set(network.map_shapes):
        detail = "heads of maps read the stages, and no other output reads the `hidden` layers: leave them out"
        problems.append(Problem(pointer="/hidden", code="map_undefined", detail=detail))
    return problems


class StudentConvnet(StartsFromTeacher, Convnet):
    """A convnet as a student."""
