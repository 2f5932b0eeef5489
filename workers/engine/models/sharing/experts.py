"""Experts and gates: MMoE (Ma et al. 2018, "Modeling task relationships in multi-task learning with multi-gate
mixture-of-experts") and CGC, the single-level form of PLE (Tang et al. 2020, "Progressive layered extraction").

    f_k(x) = Σ_e g_k(x)_e · f_e(x),   g_k(x) = softmax(W_k x + b_k)   over the experts that task k's gate weighs

MMoE: all gates weigh all experts. CGC: task k's gate weighs the shared experts and k's own. Experts are trunks of the
family, and x is the flat input. Deviations: the papers' gates have no bias; PLE stacks several levels.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from app.contracts.specs.architectures import Architecture
from app.contracts.specs.sharing import CgcSharing, MmoeSharing
from workers.engine.models.families.family import FamilyNetwork
from workers.engine.models.named import NamedModules
from workers.engine.models.sharing.scheme import SchemeNetwork, TrunkBuilder


class _GatedNetwork(SchemeNetwork):
    """A gate for each output over a number of experts."""

    def _add_gates(self, experts: int, features: int) -> None:
        self.gates = NamedModules({name: nn.Linear(self.row_size, experts) for name in self.output_sizes})
        self.add_heads(features)

    def gate_weights(self, output: str, x: Tensor) -> Tensor:
        """Rows [N, …] -> [N, experts] that sum to 1: how much of each expert the output's head reads."""
        weights: Tensor = self.gates.get(output)(x.flatten(1)).softmax(1)
        return weights

    def _mixed(self, output: str, x: Tensor, experts: Sequence[Tensor]) -> Tensor:
        """Experts' features, [N, F] each -> the output's [N, F]."""
        return (self.gate_weights(output, x).unsqueeze(2) * torch.stack(list(experts), dim=1)).sum(dim=1)


def _features_of(experts: nn.Module, x: Tensor) -> list[Tensor]:
    return [expert.features(x) for expert in experts.children() if isinstance(expert, FamilyNetwork)]


class MmoeNetwork(_GatedNetwork):
    """`experts.<i>`, which every output's gate weighs; gates are the outputs' own."""

    def __init__(self, architecture: Architecture, scheme: MmoeSharing, new_trunk: TrunkBuilder) -> None:
        super().__init__(architecture)
        built = [new_trunk() for _ in range(scheme.experts)]
        self.experts = nn.ModuleList(built)
        self._add_gates(scheme.experts, built[0].feature_size)

    def task_features(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        experts = _features_of(self.experts, x)
        for name in self.output_sizes:
            yield name, self._mixed(name, x, experts)

    def own_modules(self, output: str) -> list[nn.Module]:
        return [self.gates.get(output)]


class CgcNetwork(_GatedNetwork):
    """`shared.<i>`, which every output's gate weighs, and `experts.<output>.<i>`, which its own gate alone does."""

    def __init__(self, architecture: Architecture, scheme: CgcSharing, new_trunk: TrunkBuilder) -> None:
        super().__init__(architecture)
        built = [new_trunk() for _ in range(scheme.shared)]
        self.shared = nn.ModuleList(built)
        self.experts = NamedModules(
            {name: nn.ModuleList(new_trunk() for _ in range(scheme.own)) for name in self.output_sizes}
        )
        self._add_gates(scheme.shared + scheme.own, built[0].feature_size)

    def task_features(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        shared = _features_of(self.shared, x)
        for name in self.output_sizes:
            yield name, self._mixed(name, x, [*shared, *_features_of(self.experts.get(name), x)])

    def own_modules(self, output: str) -> list[nn.Module]:
        return [self.experts.get(output), self.gates.get(output)]
