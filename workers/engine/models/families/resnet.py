"""CIFAR-style residual networks (He et al. 2016, "Deep residual learning for image recognition", section 4.2)."""

from collections import OrderedDict

from torch import Tensor, nn

from app.contracts.layouts.trunks import RESNET_STAGES
from app.contracts.specs.architectures import Resnet
from workers.engine.models.network import ACTIVATIONS, Network


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; the shortcut is a 1x1 convolution where shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = _conv_norm(inputs, outputs, 1, stride) if changes else nn.Identity()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, outputs, H / stride, W / stride]."""
        h = self.activation(self.norm1(self.conv1(x)))
        total: Tensor = self.activation(self.norm2(self.conv2(h)) + self.shortcut(x))
        return total


class ResnetNetwork(Network):
    """Stem, three stages of (depth - 2) / 6 basic blocks, average pooling, the heads."""

    def __init__(self, architecture: Resnet) -> None:
        super().__init__(architecture)
        activation = ACTIVATIONS[architecture.activation]()
        channels = architecture.stem
        self.stem = _conv_norm(self.input_shape[0], channels, 3, 1)
        stages = []
        for s, base in enumerate(RESNET_STAGES):
            blocks = []
            for b in range((architecture.depth - 2) // 6):
                wide = base * architecture.width
                blocks.append(BasicBlock(channels, wide, 2 if s > 0 and b == 0 else 1, activation))
                channels = wide
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.activation = activation
        self.stretches = len(stages)
        self._finish([], channels)

    def begin(self, x: Tensor) -> Tensor:
        """Images [N, C, H, W] -> [N, the stem's channels, H, W]."""
        h: Tensor = self.activation(self.stem(x))
        return h

    def stretch(self, i: int, h: Tensor) -> Tensor:
        """A stage of basic blocks."""
        maps: Tensor = self.stages[i](h)
        return maps

    def halved(self, maps: Tensor) -> Tensor:
        """What a stage hands on of its maps: all, as the next one takes a stride."""
        return maps

    def end(self, h: Tensor) -> Tensor:
        """The last maps -> [N, their channels]."""
        return h.mean(dim=(2, 3))
