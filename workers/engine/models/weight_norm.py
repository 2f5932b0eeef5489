"""Weights stored as direction and magnitude by torch's weight_norm, folded: w = g · v / ‖v‖ (Salimans and Kingma 2016).

`torch.nn.utils.weight_norm` stores `<layer>.weight_g` and `weight_v`, its parametrization
`<layer>.parametrizations.weight.original0` (g) and `original1` (v). torch's own kernel gives the module's bits.
"""

import re
from collections.abc import Collection

import torch
from torch import Tensor

from app.contracts.problems import UserError

_SUFFIXES = ((".weight_g", ".weight_v"), (".parametrizations.weight.original0", ".parametrizations.weight.original1"))

_COMPUTED = (
    (("weight_orig", "weight_u"), "torch.nn.utils.remove_spectral_norm(layer)"),
    (("weight_orig", "weight_mask"), 'torch.nn.utils.prune.remove(layer, "weight")'),
)
"""Suffixes of the parts that stand side by side, and what makes one weight of them."""
_PARAMETRIZED = re.compile(r"(^|\.)parametrizations\.")


def normed_weights(names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Weight -> (its magnitude g, its direction v), for those whose parts are both among the names."""
    found = {}
    present = set(names)
    for magnitude, direction in _SUFFIXES:
        for name in names:
            layer = name.removesuffix(magnitude)
            if layer != name and layer + direction in present and f"{layer}.weight" not in present:
                found[f"{layer}.weight"] = (name, layer + direction)
    return found


def removal(names: Collection[str]) -> str | None:
    """The call that makes plain weights of the parts of computed ones, other than those of weight_norm; None where the
    names have no such parts.
    """
    present = set(names)
    for suffixes, call in _COMPUTED:
        for name in present:
            layer = name.removesuffix(suffixes[0])
            if layer != name and all(layer + suffix in present for suffix in suffixes[1:]):
                return call
    if any(_PARAMETRIZED.search(name) for name in present):
        return 'torch.nn.utils.parametrize.remove_parametrizations(layer, "weight")'
    return None


def folded(name: str, magnitude: Tensor, direction: Tensor) -> Tensor:
    """The weight of a layer, of the direction's shape and dtype. Raises UserError `wrong_shape`."""
    dim = _kept(tuple(magnitude.shape), tuple(direction.shape))
    if dim is None:
        raise UserError(
            "wrong_shape",
            f"the parts of `{name}` do not go together: magnitude {list(magnitude.shape)}, direction "
            f"{list(direction.shape)}",
        )
    weight: Tensor = torch._weight_norm(direction, magnitude, dim)
    return weight


def _kept(magnitude: tuple[int, ...], direction: tuple[int, ...]) -> int | None:
    """The dimension over which norms are not taken, -1 where they are over all; None where the shapes do not fit."""
    if magnitude == ():
        return -1
    if len(magnitude) != len(direction):
        return None
    for dim, side in enumerate(direction):
        if magnitude == tuple(side if place == dim else 1 for place in range(len(direction))):
            return dim
    return None
