"""What all schemes of sharing have: features of its own for each output, and a head that reads them."""

from collections.abc import Iterator

from torch import Tensor, nn

from app.contracts.specs.architectures import Architecture
from workers.engine.models.named import Named
from workers.engine.models.network import Network, Reach


class SchemeNetwork(Network):
    """Heads are `heads.<output>`, what they read `penultimate.<output>`, however many outputs there are.

    A scheme registers its modules, calls `_finish_heads`, and implements `task_features`; `_own_modules` and
    `shared_parameters` say which tasks reach what.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.penultimate = Named({name: nn.Identity() for name in self.output_sizes})

    def _finish_heads(self, features: int) -> None:
        self.feature_size = features
        self.heads = Named({name: nn.Linear(features, size) for name, size in self.output_sizes.items()})

    def head(self, output: str) -> nn.Linear:
        found = self.heads.of(output)
        assert isinstance(found, nn.Linear)
        return found

    def head_name(self, output: str) -> str:
        return f"heads.{output}"

    def task_features(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Rows [N, *input_shape] -> each output with the features [N, F] that its head reads."""
        raise NotImplementedError

    def features(self, x: Tensor) -> Tensor:
        """A network with several trunks has no one set of features: `task_features` gives each output's."""
        raise NotImplementedError

    def answers(self, x: Tensor) -> dict[str, Tensor]:
        named = self.penultimate
        assert isinstance(named, Named)
        return {name: self.head(name)(named.of(name)(h)) for name, h in self.task_features(x)}

    def own_modules(self, output: str) -> list[nn.Module]:
        """What only this output reaches, beside its head."""
        return []

    def own_parameters(self, output: str) -> list[nn.Parameter]:
        modules = [*self.own_modules(output), self.head(output)]
        return [parameter for module in modules for parameter in module.parameters()]

    def shared_parameters(self) -> tuple[Reach, ...]:
        """Where nothing is said otherwise all outputs reach what is no output's own."""
        shared = tuple(self.trunk_parameters())
        return (Reach(shared, tuple(self.output_sizes)),) if shared else ()
