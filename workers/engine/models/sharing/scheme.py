"""What all sharing schemes have: features of its own for each output, and a head that reads them."""

from abc import abstractmethod
from collections.abc import Callable, Iterator

from torch import Tensor, nn

from app.contracts.specs.architectures import Architecture
from workers.engine.models.families.family import FamilyNetwork
from workers.engine.models.named import NamedModules
from workers.engine.models.network import Network, SharedParameters

TrunkBuilder = Callable[[], FamilyNetwork]
"""Builds a network of the family without heads."""


class SchemeNetwork(Network):
    """Heads are `heads.<output>`, what they read `penultimate.<output>`, however many outputs there are.

    A scheme registers its modules, calls `add_heads`, and implements `task_features`; `own_modules` and
    `shared_parameters` define which outputs depend on what.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.penultimate = NamedModules({name: nn.Identity() for name in self.output_sizes})

    def add_heads(self, features: int) -> None:
        """Register the heads, last in the order of the parameters."""
        self.feature_size = features
        self.heads = NamedModules({name: nn.Linear(features, size) for name, size in self.output_sizes.items()})

    def head(self, output: str) -> nn.Linear:
        head = self.heads.get(output)
        assert isinstance(head, nn.Linear)
        return head

    def head_name(self, output: str) -> str:
        return f"heads.{output}"

    @abstractmethod
    def task_features(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Rows [N, *input_shape] -> each output with the features [N, F] that its head reads."""
        ...

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        return {name: self.head(name)(self.penultimate.get(name)(h)) for name, h in self.task_features(x)}

    def own_modules(self, output: str) -> list[nn.Module]:
        """Modules on which only this output depends, beside its head."""
        return []

    def own_parameters(self, output: str) -> list[nn.Parameter]:
        modules = [*self.own_modules(output), self.head(output)]
        return [parameter for module in modules for parameter in module.parameters()]

    def shared_parameters(self) -> tuple[SharedParameters, ...]:
        """By default all outputs share the parameters that belong to no single output."""
        shared = tuple(self.trunk_parameters())
        return (SharedParameters(shared, tuple(self.output_sizes)),) if shared else ()
