"""The layer table of a network: parameters, buffers, layers, FLOPs, from the description of its parts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import assert_never

from app.contracts.resources.facts import Layer
from app.contracts.specs.families.structure import (
    Conv,
    Group,
    Linear,
    MatrixProducts,
    MeasuredPart,
    Norm,
    Part,
    Positions,
    Shape,
)


@dataclass
class LayerTable:
    """Names, shapes and FLOPs of a whole network."""

    layers: list[Layer] = field(default_factory=list)
    parameters: dict[str, Shape] = field(default_factory=dict)
    buffers: dict[str, Shape] = field(default_factory=dict)
    flops: int = 0
    measured: MeasuredPart | None = None
    """The part that a library builds, whose parameters are counted and not named."""

    @property
    def parameter_count(self) -> int:
        """Number of trainable numbers."""
        named = sum(prod(shape) for shape in self.parameters.values())
        return named + (self.measured.parameters if self.measured is not None else 0)

    @property
    def depth(self) -> int:
        """Number of convolutions and linear layers."""
        named = sum(layer.kind in ("linear", "conv") for layer in self.layers if not self._is_measured(layer))
        return named + (self.measured.depth if self.measured is not None else 0)

    @property
    def is_normalized(self) -> bool:
        """Whether it has normalisation layers."""
        measured = self.measured is not None and self.measured.normalized
        return measured or any(layer.kind == "norm" for layer in self.layers)

    def _is_measured(self, layer: Layer) -> bool:
        return self.measured is not None and layer.name.startswith(f"{self.measured.name}.")


@dataclass(frozen=True)
class TableWriter:
    """Adds parts to a table in the order in which data pass them; names get the prefix."""

    table: LayerTable = field(default_factory=LayerTable)
    prefix: str = ""
    passes: int = 1
    listed: bool = True
    stages_listed: bool = True

    def below(self, name: str) -> "TableWriter":
        """A writer for a part of the network with this name."""
        return replace(self, prefix=f"{self.prefix}{name}.")

    def repeated(self, passes: int) -> "TableWriter":
        """A writer for a part that data pass so often in one forward pass; such a part cannot be tapped."""
        return replace(self, passes=self.passes * passes, listed=False)

    def block_by_block(self) -> "TableWriter":
        """A writer for stages that are run block by block, so that a stage's module is never called."""
        return replace(self, stages_listed=False)

    def add(self, parts: Iterable[Part]) -> None:
        """Add parts one after the other."""
        for part in parts:
            self._add(part)

    def _add(self, part: Part) -> None:
        match part:
            case Linear():
                shapes: dict[str, Shape] = {"weight": (part.outputs, part.inputs), "bias": (part.outputs,)}
                self._layer(part.name, "linear", (*part.positions, part.outputs), shapes)
                self.add_flops(2 * prod(part.positions) * part.inputs * part.outputs)
            case Conv():
                self._conv(part)
            case Norm():
                self._norm(part)
            case Positions():
                self._layer(part.name, "positions", part.shape, {"weight": part.shape})
            case MatrixProducts():
                self.add_flops(part.flops)
            case Group():
                self.below(part.name).add(part.parts)
                if part.kind is not None and (part.kind != "stage" or self.stages_listed):
                    self.named_output(part.name, part.kind, part.shape)
            case MeasuredPart():
                self.table.measured = part
                self.add_flops(part.flops)
                for layer in part.layers:
                    self.named_output(layer.name, layer.kind, layer.shape, layer.parameters)
            case _:
                assert_never(part)

    def _conv(self, conv: Conv) -> None:
        shapes: dict[str, Shape] = {"weight": (conv.outputs, conv.inputs, *(conv.kernel for _ in conv.size))}
        if conv.bias:
            shapes["bias"] = (conv.outputs,)
        self._layer(conv.name, "conv", (conv.outputs, *conv.size), shapes)
        self.add_flops(2 * prod(conv.size) * conv.outputs * conv.inputs * conv.kernel ** len(conv.size))

    def map_head(self, name: str, maps: Sequence[Shape], classes: int) -> None:
        """A linear layer on the channels of several maps [channels, height, width] together. It is not listed, as no
        module has its output.
        """
        channels = sum(shape[0] for shape in maps)
        self.add_parameter(f"{name}.weight", (classes, channels))
        self.add_parameter(f"{name}.bias", (classes,))
        self.add_flops(sum(2 * prod(shape) * classes for shape in maps))

    def _norm(self, norm: Norm) -> None:
        match norm.kind:
            case "none":
                return
            case "layer":
                size = (norm.shape[-1],)
            case "batch":
                size = (norm.shape[0],)
                buffers = {"running_mean": size, "running_var": size, "num_batches_tracked": ()}
                names = {f"{self.prefix}{norm.name}.{name}": shape for name, shape in buffers.items()}
                self.table.buffers.update(names)
            case _:
                assert_never(norm.kind)
        self._layer(norm.name, "norm", norm.shape, {"weight": size, "bias": size})

    def _layer(self, name: str, kind: str, output: Shape, shapes: dict[str, Shape]) -> None:
        for parameter, shape in shapes.items():
            self.add_parameter(f"{name}.{parameter}", shape)
        self.named_output(name, kind, output, sum(prod(shape) for shape in shapes.values()))

    def add_parameter(self, name: str, shape: Shape) -> None:
        """A trainable tensor that is no layer which can be tapped."""
        self.table.parameters[f"{self.prefix}{name}"] = shape

    def named_output(self, name: str, kind: str, shape: Shape, parameters: int = 0) -> None:
        """A module whose output can be tapped; `parameters` are its own."""
        if self.listed:
            layer = Layer(name=f"{self.prefix}{name}", kind=kind, shape=shape, parameters=parameters)
            self.table.layers.append(layer)

    def add_flops(self, flops: int) -> None:
        """FLOPs of one pass of one row."""
        self.table.flops += self.passes * flops
