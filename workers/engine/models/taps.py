"""Taps: the outputs of named layers, kept during a forward pass, and what is compared of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from app.contracts.specs.families.layer_pairs import LayerPooling


@dataclass(frozen=True)
class TappedLayer:
    """A layer by its name, and how its vectors become one a row; None: as they are."""

    name: str
    pool: LayerPooling | None = None


def compared_layer(layer: Tensor, pool: LayerPooling | None, tokens: Tensor | None) -> Tensor:
    """What a term compares of a layer [n, …]: one vector a row [n, width] with `pool`, else the layer itself.

    `tokens`: bool [n, T], which places of each row are tokens, of a network of texts; None of others, whose places all
    count. Layers of some networks of texts have a place beyond those of the row, which is left out.
    """
    if layer.dim() == 2:
        return layer
    if tokens is not None:
        layer = layer[:, : tokens.shape[1]]
    match pool:
        case None:
            return layer
        case "first":
            return layer[:, 0]
        case "mean":
            return mean_of_tokens(layer, tokens) if layer.dim() == 3 else layer.mean((2, 3))
        case _:
            assert_never(pool)


def mean_of_tokens(layer: Tensor, tokens: Tensor | None) -> Tensor:
    """[n, T, …] -> the mean over the places that are tokens (bool [n, T], one or more a row; None: all) [n, …]."""
    if tokens is None:
        return layer.mean(1)
    kept = tokens.reshape(*tokens.shape, *[1] * (layer.dim() - 2))
    return layer.masked_fill(~kept, 0.0).sum(1) / kept.sum(1)


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
