"""What a network of ours consists of, without building it: parameter names and shapes, layers, FLOPs.

Pure arithmetic on a resolved architecture, so that the API can answer a dry run without torch. The engine's
networks have exactly these names, shapes and counts (held by test). FLOPs follow torch's own counter: two for
each multiply-add of a convolution, linear layer or product of matrices, nothing for the rest.
"""

from dataclasses import dataclass, field
from math import prod

from app.contracts.architectures import Architecture, Convnet, Mlp, Resnet, Transformer
from app.contracts.facts import Layer, ModelFacts

Shape = tuple[int, ...]
RESNET_STAGES = (16, 32, 64)


@dataclass
class _Sheet:
    """Collects layers in the order in which data passes them."""

    layers: list[Layer] = field(default_factory=list)
    parameters: dict[str, Shape] = field(default_factory=dict)
    buffers: dict[str, Shape] = field(default_factory=dict)
    flops: int = 0

    def _layer(self, name: str, kind: str, shape: Shape, parameters: dict[str, Shape]) -> None:
        named = {f"{name}.{part}": size for part, size in parameters.items()}
        self.parameters.update(named)
        count = sum(prod(size) for size in named.values())
        self.layers.append(Layer(name=name, kind=kind, shape=shape, parameters=count))

    def linear(self, name: str, inputs: int, outputs: int, places: Shape = ()) -> None:
        """`places`: the dimensions before the last, over which the layer is applied again and again."""
        self._layer(name, "linear", (*places, outputs), {"weight": (outputs, inputs), "bias": (outputs,)})
        self.flops += 2 * prod(places) * inputs * outputs

    def conv(self, name: str, inputs: int, outputs: int, kernel: int, size: Shape, *, bias: bool) -> None:
        parameters: dict[str, Shape] = {"weight": (outputs, inputs, kernel, kernel)}
        if bias:
            parameters["bias"] = (outputs,)
        self._layer(name, "conv", (outputs, *size), parameters)
        self.flops += 2 * prod(size) * outputs * inputs * kernel * kernel

    def norm(self, name: str, kind: str, shape: Shape) -> None:
        if kind == "none":
            return
        size = (shape[-1] if kind == "layer" else shape[0],)
        self._layer(name, "norm", shape, {"weight": size, "bias": size})
        if kind == "batch":
            self.buffers.update(
                {
                    f"{name}.running_mean": (shape[0],),
                    f"{name}.running_var": (shape[0],),
                    f"{name}.num_batches_tracked": (),
                }
            )

    def positions(self, name: str, shape: Shape) -> None:
        self._layer(name, "positions", shape, {"weight": shape})

    def passing(self, name: str, kind: str, shape: Shape) -> None:
        """A place with a name and without parameters of its own."""
        self.layers.append(Layer(name=name, kind=kind, shape=shape, parameters=0))

    def heads(self, outputs: dict[str, int], features: int, next_layer: int) -> None:
        """One output: the head is the last of `layers`; several: `heads.<output>`. They see `penultimate`."""
        self.passing("penultimate", "features", (features,))
        if len(outputs) == 1:
            self.linear(f"layers.{next_layer}", features, next(iter(outputs.values())))
            return
        for name, size in outputs.items():
            self.linear(f"heads.{name}", features, size)


def _resolved(arch: Architecture) -> tuple[Shape, dict[str, int]]:
    if arch.input_shape is None or arch.outputs is None:
        raise ValueError("a layout needs a resolved architecture: `input_shape` and `outputs` are missing")
    return arch.input_shape, arch.outputs


def _mlp(arch: Mlp) -> _Sheet:
    shape, outputs = _resolved(arch)
    sheet, width = _Sheet(), prod(shape)
    for i, hidden in enumerate(arch.hidden):
        sheet.linear(f"layers.{i}", width, hidden)
        sheet.norm(f"norms.{i}", arch.normalization, (hidden,))
        width = hidden
    sheet.heads(outputs, width, len(arch.hidden))
    return sheet


def _convnet(arch: Convnet) -> _Sheet:
    (channels, height, width), outputs = _resolved(arch)
    sheet = _Sheet()
    for s, wide in enumerate(arch.channels):
        for b in range(arch.blocks):
            bias = arch.normalization == "none"
            sheet.conv(f"stages.{s}.{b}.conv", channels, wide, 3, (height, width), bias=bias)
            sheet.norm(f"stages.{s}.{b}.norm", arch.normalization, (wide, height, width))
            channels = wide
            sheet.passing(f"stages.{s}.{b}", "block", (channels, height, width))
        sheet.passing(f"stages.{s}", "stage", (channels, height, width))
        height, width = height // 2, width // 2
    features = channels * (height * width if arch.pooling == "flatten" else 1)
    for i, hidden in enumerate(arch.hidden):
        sheet.linear(f"layers.{i}", features, hidden)
        features = hidden
    sheet.heads(outputs, features, len(arch.hidden))
    return sheet


def _resnet(arch: Resnet) -> _Sheet:
    (inputs, height, width), outputs = _resolved(arch)
    sheet, channels = _Sheet(), arch.stem
    sheet.conv("stem.conv", inputs, channels, 3, (height, width), bias=False)
    sheet.norm("stem.norm", "batch", (channels, height, width))
    for s, base in enumerate(RESNET_STAGES):
        for b in range((arch.depth - 2) // 6):
            stride = 2 if s > 0 and b == 0 else 1
            wide = base * arch.width
            height, width = -(-height // stride), -(-width // stride)
            _basic_block(sheet, f"stages.{s}.{b}", channels, wide, (height, width), stride)
            channels = wide
            sheet.passing(f"stages.{s}.{b}", "block", (channels, height, width))
        sheet.passing(f"stages.{s}", "stage", (channels, height, width))
    sheet.heads(outputs, channels, 0)
    return sheet


def _basic_block(sheet: _Sheet, name: str, inputs: int, outputs: int, size: Shape, stride: int) -> None:
    sheet.conv(f"{name}.conv1", inputs, outputs, 3, size, bias=False)
    sheet.norm(f"{name}.norm1", "batch", (outputs, *size))
    sheet.conv(f"{name}.conv2", outputs, outputs, 3, size, bias=False)
    sheet.norm(f"{name}.norm2", "batch", (outputs, *size))
    if stride != 1 or inputs != outputs:
        sheet.conv(f"{name}.shortcut.conv", inputs, outputs, 1, size, bias=False)
        sheet.norm(f"{name}.shortcut.norm", "batch", (outputs, *size))


def _transformer(arch: Transformer) -> _Sheet:
    (tokens, features), outputs = _resolved(arch)
    sheet = _Sheet()
    sheet.linear("embed", features, arch.width, (tokens,))
    sheet.positions("positions", (tokens, arch.width))
    for i in range(arch.depth):
        _encoder_block(sheet, f"blocks.{i}", arch, tokens)
        sheet.passing(f"blocks.{i}", "block", (tokens, arch.width))
    sheet.norm("norm", "layer", (tokens, arch.width))
    sheet.heads(outputs, arch.width, 0)
    return sheet


def _encoder_block(sheet: _Sheet, name: str, arch: Transformer, tokens: int) -> None:
    sheet.norm(f"{name}.norm1", "layer", (tokens, arch.width))
    for part in ("query", "key", "value"):
        sheet.linear(f"{name}.{part}", arch.width, arch.width, (tokens,))
    sheet.flops += 4 * tokens * tokens * arch.width  # queries with keys, and their weights with values
    sheet.linear(f"{name}.out", arch.width, arch.width, (tokens,))
    sheet.norm(f"{name}.norm2", "layer", (tokens, arch.width))
    sheet.linear(f"{name}.up", arch.width, arch.inner, (tokens,))
    sheet.linear(f"{name}.down", arch.inner, arch.width, (tokens,))


def _sheet(arch: Architecture) -> _Sheet:
    if isinstance(arch, Mlp):
        return _mlp(arch)
    if isinstance(arch, Transformer):
        return _transformer(arch)
    return _convnet(arch) if isinstance(arch, Convnet) else _resnet(arch)


def parameter_shapes(arch: Architecture) -> dict[str, Shape]:
    """Trainable parameters by name. Raises ValueError on an architecture that is not resolved."""
    return _sheet(arch).parameters


def buffer_shapes(arch: Architecture) -> dict[str, Shape]:
    """BatchNorm's statistics by name; `num_batches_tracked` is an int64 scalar."""
    return _sheet(arch).buffers


def layers(arch: Architecture) -> tuple[Layer, ...]:
    """The layers that a feature term may tap, in the order in which data passes them."""
    return tuple(_sheet(arch).layers)


def layers_of(facts: ModelFacts) -> dict[str, Shape | None]:
    """A model's layers by name, with the shape of one row where it is known."""
    found = layers(facts.architecture) if facts.architecture is not None else facts.layers
    return {layer.name: layer.shape for layer in found}


def parameter_count(arch: Architecture) -> int:
    """Trainable numbers."""
    return sum(prod(shape) for shape in _sheet(arch).parameters.values())


def flops(arch: Architecture) -> int:
    """Floating-point operations of one row's forward pass."""
    return _sheet(arch).flops
