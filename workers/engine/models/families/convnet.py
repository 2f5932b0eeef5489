"""The plain convolutional network."""

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, nn

from app.contracts.specs.architectures import Convnet
from workers.engine.models.network import ACTIVATIONS, Network


def _block(inputs: int, outputs: int, architecture: Convnet) -> nn.Sequential:
    normalised = architecture.normalization == "batch"
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not normalised)
    if normalised:
        parts["norm"] = nn.BatchNorm2d(outputs)
    parts["activation"] = ACTIVATIONS[architecture.activation]()
    return nn.Sequential(parts)


class ConvnetNetwork(Network):
    """Stages of blocks, each stage max-pooled by 2; pooling or flattening; fully connected layers; the heads."""

    def __init__(self, architecture: Convnet) -> None:
        super().__init__(architecture)
        channels, height, width = self.input_shape
        stages = []
        for wide in architecture.channels:
            blocks = [_block(channels if b == 0 else wide, wide, architecture) for b in range(architecture.blocks)]
            stages.append(nn.Sequential(*blocks))
            channels, height, width = wide, height // 2, width // 2
        self.stages = nn.ModuleList(stages)
        self.pool = nn.MaxPool2d(2)
        self.activation = ACTIVATIONS[architecture.activation]()
        self.dropout = nn.Dropout(architecture.dropout)
        self._average = architecture.pooling == "average"
        widths = (channels * (1 if self._average else height * width), *architecture.hidden)
        self.stretches = len(stages) + len(architecture.hidden)
        self._finish([nn.Linear(*pair) for pair in pairwise(widths)], widths[-1])

    def stretch(self, i: int, h: Tensor) -> Tensor:
        """A stage with its pooling, [N, C, H, W] -> [N, its channels, H / 2, W / 2]; then hidden layers on vectors."""
        if i < len(self.stages):
            return self.halved(self.stages[i](h))
        layer = i - len(self.stages)
        hidden: Tensor = self.activation(self.layers[layer](self.dropout(self._vectors(h) if layer == 0 else h)))
        return hidden

    def halved(self, maps: Tensor) -> Tensor:
        """What a stage hands on of its maps."""
        pooled: Tensor = self.pool(maps)
        return pooled

    def end(self, h: Tensor) -> Tensor:
        """The last maps or vectors -> [N, F]."""
        dropped: Tensor = self.dropout(h if self.stretches > len(self.stages) else self._vectors(h))
        return dropped

    def _vectors(self, h: Tensor) -> Tensor:
        return h.mean(dim=(2, 3)) if self._average else h.flatten(1)
