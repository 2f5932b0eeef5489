"""The sheet on which a network's layout is written: parameters, buffers, layers, FLOPs."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import prod

from app.contracts.resources.facts import Layer

Shape = tuple[int, ...]


@dataclass
class Tally:
    """What all parts of a network come to."""

    layers: list[Layer] = field(default_factory=list)
    parameters: dict[str, Shape] = field(default_factory=dict)
    buffers: dict[str, Shape] = field(default_factory=dict)
    flops: int = 0


@dataclass(frozen=True)
class Sheet:
    """Collects layers in the order in which data passes them.

    What is written `below` a name has it before its own. What data pass several `times` in one forward pass is no
    layer that can be tapped, and is not listed as one.
    """

    tally: Tally = field(default_factory=Tally)
    prefix: str = ""
    passes: int = 1
    listed: bool = True
    stages_listed: bool = True

    def below(self, name: str) -> "Sheet":
        """The same sheet for a part of the network that is called `name`."""
        return replace(self, prefix=f"{self.prefix}{name}.")

    def times(self, passes: int) -> "Sheet":
        """The same sheet for a part that data pass so often."""
        return replace(self, passes=self.passes * passes, listed=False)

    def by_blocks(self) -> "Sheet":
        """The same sheet for stages that are run block by block, never as a whole."""
        return replace(self, stages_listed=False)

    def _layer(self, name: str, kind: str, shape: Shape, parameters: dict[str, Shape]) -> None:
        named = {f"{self.prefix}{name}.{part}": size for part, size in parameters.items()}
        self.tally.parameters.update(named)
        self._list(name, kind, shape, sum(prod(size) for size in named.values()))

    def _list(self, name: str, kind: str, shape: Shape, parameters: int) -> None:
        if self.listed:
            layer = Layer(name=f"{self.prefix}{name}", kind=kind, shape=shape, parameters=parameters)
            self.tally.layers.append(layer)

    def cost(self, flops: int) -> None:
        """Products of matrices."""
        self.tally.flops += self.passes * flops

    def linear(self, name: str, inputs: int, outputs: int, places: Shape = ()) -> None:
        """`places`: the dimensions before the last, over which the layer is applied again and again."""
        self._layer(name, "linear", (*places, outputs), {"weight": (outputs, inputs), "bias": (outputs,)})
        self.cost(2 * prod(places) * inputs * outputs)

    def conv(self, name: str, inputs: int, outputs: int, kernel: int, size: Shape, *, bias: bool) -> None:
        """`size`: height and width of what it puts out."""
        parameters: dict[str, Shape] = {"weight": (outputs, inputs, kernel, kernel)}
        if bias:
            parameters["bias"] = (outputs,)
        self._layer(name, "conv", (outputs, *size), parameters)
        self.cost(2 * prod(size) * outputs * inputs * kernel * kernel)

    def norm(self, name: str, kind: str, shape: Shape) -> None:
        """`kind`: none, batch or layer."""
        if kind == "none":
            return
        size = (shape[-1] if kind == "layer" else shape[0],)
        self._layer(name, "norm", shape, {"weight": size, "bias": size})
        if kind == "batch":
            self.tally.buffers.update(
                {
                    f"{self.prefix}{name}.running_mean": (shape[0],),
                    f"{self.prefix}{name}.running_var": (shape[0],),
                    f"{self.prefix}{name}.num_batches_tracked": (),
                }
            )

    def weight(self, name: str, kind: str, shape: Shape, parameters: Shape) -> None:
        """A layer with one tensor of its own, `weight`."""
        self._layer(name, kind, shape, {"weight": parameters})

    def passing(self, name: str, kind: str, shape: Shape) -> None:
        """A place with a name and without parameters of its own."""
        self._list(name, kind, shape, 0)

    def stage(self, name: str, shape: Shape) -> None:
        """The end of a stage, where stages are run as a whole."""
        if self.stages_listed:
            self.passing(name, "stage", shape)

    def heads(self, outputs: dict[str, int], features: int, next_layer: int) -> None:
        """One output: the head is the last of `layers`; several: `heads.<output>`. They see `penultimate`."""
        self.passing("penultimate", "features", (features,))
        if len(outputs) == 1:
            self.linear(f"layers.{next_layer}", features, next(iter(outputs.values())))
            return
        for name, size in outputs.items():
            self.linear(f"heads.{name}", features, size)

    def own_heads(self, outputs: dict[str, int], features: int, only: Iterable[str] | None = None) -> None:
        """A head for each output (of `only`), behind a `penultimate` of its own."""
        for name in only if only is not None else outputs:
            self.passing(f"penultimate.{name}", "features", (features,))
            self.linear(f"heads.{name}", features, outputs[name])
