"""The plain convolutional network."""

from torch import Tensor, nn

from app.contracts.specs.families.convnet import Convnet
from workers.engine.models.families.family import ConvolutionalNetwork
from workers.engine.models.families.map_head import map_scores
from workers.engine.models.modules import ACTIVATIONS


class ConvBlock(nn.Module):
    """Convolution, normalisation, activation."""

    conv: nn.Module
    norm: nn.Module

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, outputs, H, W], or [N, C, L] -> [N, outputs, L]."""
        maps: Tensor = self.activation(self.norm(self.conv(x)))
        return maps


class ConvnetNetwork(ConvolutionalNetwork):
    """Stages of blocks, each stage max-pooled by 2; pooling or flattening; fully connected layers; the heads.

    Rows are images [N, C, H, W], or series [N, C, L], whose maps have a length instead of height and width.
    """

    def __init__(self, architecture: Convnet) -> None:
        super().__init__(architecture)
        self.activation = ACTIVATIONS[architecture.activation]()
        self.pool = nn.MaxPool1d(2) if len(architecture.input_shape or ()) == 2 else nn.MaxPool2d(2)
        self.dropout = nn.Dropout(architecture.dropout)
        self._average = architecture.pooling != "flatten"
        self.add_layers({"block": lambda: ConvBlock(self.activation)})

    def stage(self, i: int, h: Tensor) -> Tensor:
        """A stage with its pooling, [N, C, H, W] -> [N, its channels, H / 2, W / 2]; then hidden layers on vectors."""
        if i < len(self.stages):
            return self.downsample(self.stages[i](h))
        layer = i - len(self.stages)
        hidden: Tensor = self.activation(self.layers[layer](self.dropout(self._vectors(h) if layer == 0 else h)))
        return hidden

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        shapes = self.architecture.map_shapes
        if not shapes:
            return super().outputs(x)
        h, maps = self.begin(x), []
        for stage in self.stages:
            maps.append(stage(h))
            h = self.downsample(maps[-1])
        found: dict[str, Tensor] = {}
        if self.output_sizes.keys() - shapes.keys():
            for i in range(len(self.stages), self.stage_count):
                h = self.stage(i, h)
            features: Tensor = self.penultimate(self.end(h))
            found = {name: self.head(name)(features) for name in self.output_sizes if name not in shapes}
        read = [self.dropout(each) for each in maps]
        found |= {name: map_scores(self.head(name), read, shape) for name, shape in shapes.items()}
        return {name: found[name] for name in self.output_sizes}

    def head_inputs(self, output: str) -> int:
        maps = self.architecture.trunk().maps
        if output not in self.architecture.map_shapes or maps is None:
            return super().head_inputs(output)
        return sum(shape[0] for shape in maps.shapes)

    def downsample(self, maps: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H / 2, W / 2]."""
        pooled: Tensor = self.pool(maps)
        return pooled

    def end(self, h: Tensor) -> Tensor:
        """The last maps or vectors -> [N, F]."""
        dropped: Tensor = self.dropout(h if self.stage_count > len(self.stages) else self._vectors(h))
        return dropped

    def _vectors(self, h: Tensor) -> Tensor:
        return self.averaged(h) if self._average else h.flatten(1)
