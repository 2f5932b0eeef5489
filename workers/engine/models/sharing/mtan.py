"""MTAN (Liu et al. 2019, "End-to-end multi-task learning with attention"), section 3, on a convolutional trunk.

    a_k^s = sigmoid(h([u^s, f(a_k^(s-1) ⊙ p^(s-1))])),   what task k goes on with: a_k^s ⊙ p^s

u are the maps behind a stage's first block and p those behind its last; h is two 1x1 convolutions of the task, f a 3x3
convolution that tasks share and the trunk's halving. Deviations: f's normalisation is the task's own, as statistics of
one that all tasks go through would be those of whichever came last; after the last stage the trunk's hidden layers
follow, once for each task.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from app.contracts.layouts.trunks import trunk_of
from app.contracts.specs.architectures import Architecture, Convnet
from workers.engine.models.families.convnet import ConvnetNetwork
from workers.engine.models.families.resnet import ResnetNetwork
from workers.engine.models.named import Named
from workers.engine.models.network import ACTIVATIONS, Network
from workers.engine.models.sharing.scheme import SchemeNetwork


class Attention(nn.Module):
    """The mask of one task in one stage; `arrives`: something comes from the stage before."""

    def __init__(self, channels: int, *, arrives: bool, normalised: bool, activation: nn.Module) -> None:
        super().__init__()

        def norm() -> nn.Module:
            return nn.BatchNorm2d(channels) if normalised else nn.Identity()

        self.norm = norm() if arrives else nn.Identity()
        self.conv1 = nn.Conv2d(channels * (2 if arrives else 1), channels, 1, bias=not normalised)
        self.norm1 = norm()
        self.conv2 = nn.Conv2d(channels, channels, 1, bias=not normalised)
        self.norm2 = norm()
        self.activation = activation

    def forward(self, maps: Tensor) -> Tensor:
        """[N, C or 2C, H, W] -> the mask [N, C, H, W], in (0, 1)."""
        mask: Tensor = self.norm2(self.conv2(self.activation(self.norm1(self.conv1(maps))))).sigmoid()
        return mask


class MtanNetwork(SchemeNetwork):
    """`trunk`, shared; `passages.<s>` into stage s, shared; `attentions.<output>.<s>`, the output's own."""

    def __init__(self, architecture: Architecture, trunk: Callable[[], Network]) -> None:
        super().__init__(architecture)
        built = trunk()
        assert isinstance(built, ConvnetNetwork | ResnetNetwork)
        self.trunk = built
        pooled = isinstance(architecture, Convnet)
        normalised = not isinstance(architecture, Convnet) or architecture.normalization == "batch"
        channels = [maps[0] for maps in trunk_of(architecture).maps]
        activation = ACTIVATIONS[architecture.activation]()
        self.activation = activation
        self.passages = nn.ModuleDict(
            {
                str(s): nn.Conv2d(
                    channels[s - 1], channels[s], 3, stride=1 if pooled else 2, padding=1, bias=not normalised
                )
                for s in range(1, len(channels))
            }
        )
        self.attentions = Named(
            {
                name: nn.ModuleList(
                    Attention(wide, arrives=s > 0, normalised=normalised, activation=activation)
                    for s, wide in enumerate(channels)
                )
                for name in self.output_sizes
            }
        )
        self._finish_heads(built.feature_size)

    def _attention(self, output: str, stage: int) -> Attention:
        stages = self.attentions.of(output)
        assert isinstance(stages, nn.ModuleList)
        found = stages[stage]
        assert isinstance(found, Attention)
        return found

    def task_features(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        attended: dict[str, Tensor] = {}
        h = self.trunk.begin(x)
        for s, stage in enumerate(self.trunk.stages):
            first, *rest = stage.children()
            maps = begun = first(h)
            for block in rest:
                maps = block(maps)
            for name in self.output_sizes:
                seen = begun if s == 0 else torch.cat([begun, self._arriving(name, s, attended[name])], dim=1)
                attended[name] = self._attention(name, s)(seen) * maps
            h = self.trunk.halved(maps)
        for name, maps in attended.items():
            yield name, self._finished(self.trunk.halved(maps))

    def _arriving(self, output: str, stage: int, attended: Tensor) -> Tensor:
        """What an output took from the stage before, in the shape of this one."""
        passed = self._attention(output, stage).norm(self.passages[str(stage)](attended))
        return self.trunk.halved(self.activation(passed))

    def _finished(self, h: Tensor) -> Tensor:
        for i in range(len(self.trunk.stages), self.trunk.stretches):
            h = self.trunk.stretch(i, h)
        return self.trunk.end(h)

    def own_modules(self, output: str) -> list[nn.Module]:
        return [self.attentions.of(output)]
