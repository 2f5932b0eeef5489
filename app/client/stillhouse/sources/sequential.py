"""The architecture of a torch.nn.Sequential, where it is that of the family `mlp`.

The family has one activation of one kind, and one rate of dropout, after each hidden layer, and nothing after the last
one. A Sequential is read as such a network only if it computes the same: everything else asks for its `architecture`.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from stillhouse.errors import Unreadable
from stillhouse.sources.upload import JSON

ACTIVATIONS: Final[Mapping[str, str]] = {"ReLU": "relu", "GELU": "gelu", "Tanh": "tanh", "SiLU": "silu"}
_BEFORE: Final = frozenset(("Flatten", "Dropout", "Identity"))
_AFTER: Final = frozenset(("Dropout", "Identity"))
Layer = tuple[str, Any]
"""The name of a child, and the child."""


def mlp_of(module: Any, outputs: Mapping[str, JSON] | None) -> JSON:
    """`architecture` and `rename` of a Sequential of linear layers. Raises Unreadable."""
    layers = _layers(module)
    linear = [i for i, (_, layer) in enumerate(layers) if _kind(layer) == "Linear"]
    if not linear:
        raise _other(f"a {type(module).__name__} without linear layers")
    _check_ends(layers[: linear[0]], layers[linear[-1] + 1 :])
    gaps = [layers[start + 1 : end] for start, end in pairwise(linear)]
    activations = [_activation(gap) for gap in gaps]
    rates = [_rate(gap) for gap in gaps]
    _check_alike("activation", activations)
    _check_alike("rate of dropout", [f"{rate:g}" for rate in rates])
    _check_linear([layers[i] for i in linear])
    sizes = [int(layers[i][1].out_features) for i in linear]
    output = next(iter(outputs), "output") if outputs else "output"
    found: JSON = {
        "family": "mlp",
        "input_shape": [int(layers[linear[0]][1].in_features)],
        "hidden": sizes[:-1],
        "outputs": {output: sizes[-1]},
        "activation": next(iter(activations), "relu"),
    }
    found |= {"dropout": rates[0]} if rates and rates[0] else {}
    return {"architecture": found, "rename": {layers[i][0]: f"layers.{n}" for n, i in enumerate(linear)}}


def _layers(module: Any) -> Sequence[Layer]:
    """The children in the order in which they compute; of a child that is there twice both."""
    if type(module).__name__ != "Sequential":
        raise _other(type(module).__name__)
    layers = list(module._modules.items())
    linear = [id(layer) for _, layer in layers if _kind(layer) == "Linear"]
    if len(set(linear)) < len(linear):
        raise _other("a Sequential with one linear layer in two places")
    known = {"Linear", *_BEFORE, *ACTIVATIONS}
    if unknown := sorted({_kind(layer) for _, layer in layers} - known):
        raise _other(f"a Sequential with {', '.join(unknown)}")
    return layers


def _kind(layer: object) -> str:
    """The name of its class; of one that is not torch's own with its module, so that it is none of those known."""
    kind = type(layer)
    return kind.__name__ if kind.__module__.startswith("torch.nn.modules.") else f"{kind.__module__}.{kind.__name__}"


def _check_ends(before: Sequence[Layer], after: Sequence[Layer]) -> None:
    for name, layer in before:
        if _kind(layer) not in _BEFORE:
            raise _other(f"{_kind(layer)} `{name}` before the first linear layer")
        if _kind(layer) == "Flatten" and (layer.start_dim, layer.end_dim) != (1, -1):
            raise _other(f"Flatten `{name}` of the dimensions {layer.start_dim} to {layer.end_dim}")
    for name, layer in after:
        if _kind(layer) not in _AFTER:
            raise _other(f"{_kind(layer)} `{name}` after the last linear layer")


def _activation(gap: Sequence[Layer]) -> str:
    """The one activation between two linear layers."""
    found = [layer for _, layer in gap if _kind(layer) in ACTIVATIONS]
    if len(found) != 1 or any(_kind(layer) == "Flatten" for _, layer in gap):
        shown = ", ".join(_kind(layer) for _, layer in gap) or "nothing"
        raise _other(f"{shown} between two linear layers, not one activation")
    if _kind(found[0]) == "GELU" and found[0].approximate != "none":
        raise _other(f"a GELU that is approximated by {found[0].approximate}")
    return ACTIVATIONS[_kind(found[0])]


def _rate(gap: Sequence[Layer]) -> float:
    """The rate of the dropout between two linear layers; 0 without one."""
    rates = [float(layer.p) for _, layer in gap if _kind(layer) == "Dropout"]
    if len(rates) > 1:
        raise _other("two layers of dropout in a row")
    if rates and rates[0] >= 1.0:
        raise _other("a dropout of everything")
    return rates[0] if rates else 0.0


def _check_alike(what: str, found: Sequence[str]) -> None:
    if len(set(found)) > 1:
        raise _other(f"more than one {what}: {', '.join(sorted(set(found)))}")


def _check_linear(layers: Sequence[Layer]) -> None:
    for name, layer in layers:
        if layer.bias is None:
            raise _other(f"the linear layer `{name}` without a bias")


def _other(found: str) -> Unreadable:
    return Unreadable(
        "expected a Sequential of linear layers with one activation between two of them and none at its ends, or else "
        f'`architecture`, found {found}: say which family it is, such as architecture={{"family": "convnet", …}}, or '
        "export it to ONNX and upload that file"
    )
