"""A trunk for each group of tasks, shared hard inside the group; also for a relation that is applied by trunks."""

from collections.abc import Iterator

from torch import Tensor, nn

from app.contracts.specs.architectures import Architecture
from app.contracts.specs.sharing import TrunksSharing
from workers.engine.models.families.family import FamilyNetwork
from workers.engine.models.network import SharedParameters
from workers.engine.models.sharing.scheme import SchemeNetwork, TrunkBuilder


class TrunksNetwork(SchemeNetwork):
    """`trunks.<g>` serves the outputs of group g; the trunk of a group of one is that output's own."""

    def __init__(self, architecture: Architecture, scheme: TrunksSharing, new_trunk: TrunkBuilder) -> None:
        super().__init__(architecture)
        self._groups = scheme.groups
        built = [new_trunk() for _ in scheme.groups]
        self.trunks = nn.ModuleList(built)
        self.add_heads(built[0].feature_size)

    def task_features(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        for group, trunk in zip(self._groups, self.trunks, strict=True):
            assert isinstance(trunk, FamilyNetwork)
            features = trunk.features(x)
            yield from ((name, features) for name in group)

    def own_modules(self, output: str) -> list[nn.Module]:
        return [trunk for group, trunk in zip(self._groups, self.trunks, strict=True) if group == (output,)]

    def shared_parameters(self) -> tuple[SharedParameters, ...]:
        """A set for each group of several."""
        pairs = zip(self._groups, self.trunks, strict=True)
        return tuple(SharedParameters(tuple(trunk.parameters()), group) for group, trunk in pairs if len(group) > 1)
