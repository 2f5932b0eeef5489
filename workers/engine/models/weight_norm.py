"""Weights stored as direction and magnitude by torch's weight_norm, folded: w = g · v / ‖v‖ (Salimans and Kingma 2016).

`torch.nn.utils.weight_norm` stores `<layer>.weight_g` and `weight_v`, its parametrization
`<layer>.parametrizations.weight.original0` (g) and `original1` (v). torch's own kernel gives the module's bits.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from app.contracts.problems import UserError

_SUFFIXES = ((".weight_g", ".weight_v"), (".parametrizations.weight.original0", ".parametrizations.weight.original1"))


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
