"""Cross-stitch networks (Misra et al. 2016, "Cross-stitch networks for multi-task learning"), section 3.

    x'_i = Σ_j A_ij x_j   after each stage, for towers i and j; A begins with `own` on its diagonal

One matrix a stage, as for the paper's fully connected layers (its units on maps have one a channel). Deviations: towers
begin at random instead of from networks trained alone, and stitches learn at the rate of everything else.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from app.contracts.specs.architectures import Architecture
from app.contracts.specs.sharing import CrossStitchSharing, towers_of
from workers.engine.models.families.family import FamilyNetwork
from workers.engine.models.named import NamedModules
from workers.engine.models.network import SharedParameters
from workers.engine.models.sharing.scheme import SchemeNetwork, TrunkBuilder


class Stitch(nn.Module):
    """The mixtures that the towers continue with: row i of `weight` [K, K] is tower i's."""

    def __init__(self, towers: int, own: float) -> None:
        super().__init__()
        self._own = own
        self.weight = nn.Parameter(torch.empty(towers, towers))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """`own` for each tower itself, the rest in equal parts for the others."""
        others = len(self.weight) - 1
        self.weight.fill_((1.0 - self._own) / others if others else 0.0).fill_diagonal_(self._own)

    def forward(self, x: Tensor) -> Tensor:
        """[K, N, …] -> [K, N, …]. One product of matrices, whose bits do not depend on which towers are read."""
        return (self.weight @ x.flatten(1)).reshape(x.shape)


class CrossStitchNetwork(SchemeNetwork):
    """`towers.<task>`, also of tasks that are no output any more, and `stitches.<stage>`."""

    def __init__(self, architecture: Architecture, scheme: CrossStitchSharing, new_trunk: TrunkBuilder) -> None:
        super().__init__(architecture)
        self._names = towers_of(scheme, self.output_sizes)
        built = {name: new_trunk() for name in self._names}
        first = built[self._names[0]]
        self.towers = NamedModules(built)
        self.stitches = nn.ModuleList(Stitch(len(built), scheme.own) for _ in range(first.stage_count))
        self.add_heads(first.feature_size)

    def _tower(self, name: str) -> FamilyNetwork:
        tower = self.towers.get(name)
        assert isinstance(tower, FamilyNetwork)
        return tower

    def task_features(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        towers = [self._tower(name) for name in self._names]
        states = [tower.begin(x) for tower in towers]
        for i, stitch in enumerate(self.stitches):
            after = [tower.stage(i, h) for tower, h in zip(towers, states, strict=True)]
            states = list(stitch(torch.stack(after)).unbind(0))
        for name, tower, h in zip(self._names, towers, states, strict=True):
            if name in self.output_sizes:
                yield name, tower.end(h)

    def shared_parameters(self) -> tuple[SharedParameters, ...]:
        """Each tower, and the stitches: all outputs reach them, but for what a tower has behind its last stitch."""
        outputs = tuple(self.output_sizes)
        towers = [SharedParameters(tuple(self._tower(name).parameters()), outputs, tower=name) for name in self._names]
        return (*towers, SharedParameters(tuple(self.stitches.parameters()), outputs))
