"""CIFAR-style residual networks (He et al. 2016, "Deep residual learning for image recognition", section 4.2)."""

from torch import Tensor, nn

from app.contracts.specs.families.resnet import Resnet
from workers.engine.models.families.family import ConvolutionalNetwork
from workers.engine.models.modules import ACTIVATIONS, QuantizationPoint


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; the shortcut is a 1x1 convolution where shapes change."""

    conv1: nn.Module
    norm1: nn.Module
    conv2: nn.Module
    norm2: nn.Module
    shortcut: nn.Module

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.residual = QuantizationPoint()
        self.skip = QuantizationPoint()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, outputs, H / stride, W / stride]."""
        h = self.activation(self.norm1(self.conv1(x)))
        residual: Tensor = self.residual(self.norm2(self.conv2(h)))
        total: Tensor = self.activation(residual + self.skip(self.shortcut(x)))
        return total


class ResnetNetwork(ConvolutionalNetwork):
    """Stem, three stages of (depth - 2) / 6 basic blocks, average pooling, the heads."""

    stem: nn.Module

    def __init__(self, architecture: Resnet) -> None:
        super().__init__(architecture)
        self.activation = ACTIVATIONS[architecture.activation]()
        self.add_layers({"block": lambda: BasicBlock(self.activation)})

    def begin(self, x: Tensor) -> Tensor:
        """Images [N, C, H, W] -> [N, the stem's channels, H, W]."""
        h: Tensor = self.activation(self.stem(x))
        return h

    def stage(self, i: int, h: Tensor) -> Tensor:
        """A stage of basic blocks."""
        maps: Tensor = self.stages[i](h)
        return maps

    def end(self, h: Tensor) -> Tensor:
        """The last maps -> [N, their channels]."""
        return self.averaged(h)
