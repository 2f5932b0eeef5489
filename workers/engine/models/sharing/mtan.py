"""MTAN (Liu et al. 2019, "End-to-end multi-task learning with attention"), section 3, on a convolutional trunk.

    a_k^s = sigmoid(h([u^s, f(a_k^(s-1) ⊙ p^(s-1))])),   output of stage s for task k: a_k^s ⊙ p^s

u are the maps behind a stage's first block and p those behind its last; h is two 1x1 convolutions of the task, f a 3x3
convolution that tasks share, with the trunk's downsampling. Deviations: f's normalisation is the task's own, as shared
statistics would be those of whichever task came last; after the last stage the trunk's hidden layers follow, once for
each task.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from app.contracts.layouts.sharing import attention, passage
from app.contracts.specs.architectures import Architecture
from workers.engine.models.families.family import ConvolutionalNetwork
from workers.engine.models.modules import GroupModules, module_of
from workers.engine.models.named import NamedModules
from workers.engine.models.sharing.scheme import SchemeNetwork, TrunkBuilder


class Attention(nn.Module):
    """The mask of one task in one stage; `norm`, behind the first stage, is applied to the output of the passage."""

    norm: nn.Module
    conv1: nn.Module
    norm1: nn.Module
    conv2: nn.Module
    norm2: nn.Module

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, maps: Tensor) -> Tensor:
        """[N, C or 2C, H, W] -> the mask [N, C, H, W], in (0, 1)."""
        mask: Tensor = self.norm2(self.conv2(self.activation(self.norm1(self.conv1(maps))))).sigmoid()
        return mask


class MtanNetwork(SchemeNetwork):
    """`trunk`, shared; `passages.<s>` into stage s, shared; `attentions.<output>.<s>`, the output's own."""

    def __init__(self, architecture: Architecture, new_trunk: TrunkBuilder) -> None:
        super().__init__(architecture)
        built, maps = new_trunk(), architecture.trunk().maps
        assert isinstance(built, ConvolutionalNetwork)
        assert maps is not None
        self.trunk = built
        self.activation = built.activation
        stages = range(len(maps.shapes))
        groups: GroupModules = {"mask": lambda: Attention(self.activation)}
        self.passages = nn.ModuleDict({f"{s}": module_of(passage(maps, s), {}) for s in stages[1:]})
        self.attentions = NamedModules(
            {name: nn.ModuleList(module_of(attention(maps, s), groups) for s in stages) for name in self.output_sizes}
        )
        self.add_heads(built.feature_size)

    def _attention(self, output: str, stage: int) -> Attention:
        stages = self.attentions.get(output)
        assert isinstance(stages, nn.ModuleList)
        module = stages[stage]
        assert isinstance(module, Attention)
        return module

    def task_features(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        attended: dict[str, Tensor] = {}
        h = self.trunk.begin(x)
        for s, stage in enumerate(self.trunk.stages):
            first, *rest = stage.children()
            maps = first_maps = first(h)
            for block in rest:
                maps = block(maps)
            for name in self.output_sizes:
                inputs = first_maps
                if s > 0:
                    inputs = torch.cat([first_maps, self._from_stage_before(name, s, attended[name])], dim=1)
                attended[name] = self._attention(name, s)(inputs) * maps
            h = self.trunk.downsample(maps)
        for name, maps in attended.items():
            yield name, self._after_stages(self.trunk.downsample(maps))

    def _from_stage_before(self, output: str, stage: int, attended: Tensor) -> Tensor:
        """The output's maps of the stage before, in the shape of this one."""
        passed = self._attention(output, stage).norm(self.passages[str(stage)](attended))
        return self.trunk.downsample(self.activation(passed))

    def _after_stages(self, h: Tensor) -> Tensor:
        for i in range(len(self.trunk.stages), self.trunk.stage_count):
            h = self.trunk.stage(i, h)
        return self.trunk.end(h)

    def own_modules(self, output: str) -> list[nn.Module]:
        return [self.attentions.get(output)]
