"""Taps: the outputs of named layers, kept during a forward pass."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def tensor_of(output: Any) -> Any:
    """What a layer puts out: the first of several outputs, as blocks of some libraries return a tuple."""
    return output[0] if isinstance(output, tuple) and output else output


class Taps:
    """Hooks on a network's layers. Each forward pass keeps their outputs; `take` returns these once."""

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        self._kept: dict[str, Tensor] = {}
        self._is_open = False
        """Whether a forward pass has begun whose outputs were not taken: a backward pass may call layers again."""
        self._handles: list[RemovableHandle] = [self._hook(network, layer) for layer in dict.fromkeys(layers)]
        if self._handles:
            self._handles.append(network.register_forward_pre_hook(self._open))

    def _open(self, module: nn.Module, inputs: object) -> None:
        self._is_open = True

    def _hook(self, network: nn.Module, layer: str) -> RemovableHandle:
        def keep(module: nn.Module, inputs: object, output: Any) -> None:
            if self._is_open:
                self._kept[layer] = tensor_of(output)

        # Not `get_submodule`, which splits `heads.size.cm` at its dots.
        module: nn.Module = dict(network.named_modules())[layer]
        return module.register_forward_hook(keep)

    def take(self) -> dict[str, Tensor]:
        """{layer: [n, …]} of the last forward pass, which are forgotten here."""
        kept, self._kept, self._is_open = self._kept, {}, False
        return kept

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
