"""Networks of every family under every scheme of sharing, and jobs that train them."""

import json
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from app.contracts.specs.architectures import Architecture
from workers.engine.models import Network, build, initialise

ARCHITECTURE: TypeAdapter[Architecture] = TypeAdapter(Architecture)
Json = dict[str, Any]

OUTPUTS = {"left": 3, "size.cm": 1, "total": 2}
"""Among them a name with a dot, which torch splits when it looks up a module."""
FAMILIES: dict[str, Json] = {
    "mlp": {"family": "mlp", "input_shape": [6], "hidden": [7, 4], "normalization": "batch", "dropout": 0.2},
    "convnet": {"family": "convnet", "input_shape": [2, 9, 8], "channels": [3, 5], "blocks": 2, "hidden": [6]},
    "flat": {
        "family": "convnet", "input_shape": [1, 8, 9], "channels": [3, 4], "normalization": "none",
        "pooling": "flatten",
    },
    "series": {"family": "convnet", "input_shape": [2, 17], "channels": [3, 5], "blocks": 2, "hidden": [6]},
    "resnet": {"family": "resnet", "input_shape": [3, 9, 7], "depth": 8, "stem": 4},
    "transformer": {"family": "transformer", "input_shape": [4, 3], "width": 8, "depth": 2, "heads": 2},
}  # fmt: skip
SCHEMES: dict[str, Any] = {
    "hard": "hard",
    "cross_stitch": "cross_stitch",
    "mmoe": {"method": "mmoe", "experts": 3},
    "cgc": {"method": "cgc", "shared": 2, "own": 2},
    "mtan": "mtan",
    "trunks": {"method": "trunks", "groups": [["total", "left"], ["size.cm"]]},
}
ALL = [(f, s) for f in FAMILIES for s in SCHEMES if s != "mtan" or f in ("convnet", "flat", "series", "resnet")]
"""Every family with every scheme that is defined for it."""

TASKS: list[Json] = [{"name": "label"}, {"name": "side"}, {"name": "size"}]
STUDENTS: dict[str, Json] = {
    "cross_stitch": {"family": "mlp", "hidden": [8, 6], "sharing": "cross_stitch"},
    "mmoe": {"family": "mlp", "hidden": [8], "dropout": 0.2, "sharing": {"method": "mmoe", "experts": 2}},
    "cgc": {"family": "mlp", "hidden": [8], "normalization": "batch", "sharing": "cgc"},
    "mtan": {"family": "convnet", "input_shape": [1, 4, 4], "channels": [8, 12], "sharing": "mtan"},
    "trunks": {
        "family": "mlp",
        "hidden": [8],
        "sharing": {"method": "trunks", "groups": [["size", "label"], ["side"]]},
    },
}
"""Students of jobs on rows of 16 numbers; with dropout and BatchNorm among them."""


def parsed(spec: Json) -> Architecture:
    return ARCHITECTURE.validate_json(json.dumps(spec))


def shared(family: str, scheme: str, outputs: dict[str, int] | None = None, **changes: Any) -> Architecture:
    spec = {**FAMILIES[family], "outputs": outputs or OUTPUTS, "sharing": SCHEMES[scheme], **changes}
    return parsed(spec)


def made(architecture: Architecture, seed: int = 0) -> Network:
    network = build(architecture)
    initialise(network, seed)
    return network


def with_running_statistics(architecture: Architecture) -> Network:
    """A network in evaluation mode, whose running statistics differ from those of a new network."""
    network = made(architecture)
    with torch.no_grad():
        network(rows_for(network, 16) * 2 + 1)
    return network.eval()


def rows_for(network: Network, count: int = 5) -> Tensor:
    return torch.randn(count, *network.input_shape, generator=torch.Generator().manual_seed(count))


def touched(network: Network, output: str) -> set[str]:
    """The names of the parameters that get a gradient from this output's loss."""
    network.zero_grad(set_to_none=True)
    network(rows_for(network))[output].square().sum().backward()
    return {
        name for name, value in network.named_parameters() if value.grad is not None and bool((value.grad != 0).any())
    }
