"""Taps: the outputs of named layers, kept as a forward pass goes by."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class Taps:
    """Hooks on a network's layers. Each forward pass leaves what they put out; `take` hands it over once."""

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        self._found: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = [self._hook(network, layer) for layer in dict.fromkeys(layers)]

    def _hook(self, network: nn.Module, layer: str) -> RemovableHandle:
        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            self._found[layer] = output

        # Not `get_submodule`, which splits `heads.size.cm` at its dots.
        module: nn.Module = dict(network.named_modules())[layer]
        return module.register_forward_hook(keep)

    def take(self) -> dict[str, Tensor]:
        """{layer: [n, …]} of the last forward pass; nothing is kept afterwards."""
        found, self._found = self._found, {}
        return found

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
