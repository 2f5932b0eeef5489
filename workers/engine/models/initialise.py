"""Initial weights as a function of (seed, parameter name): another head or layer changes no draw of the others."""

import hashlib
from math import sqrt

import torch
from torch import nn

from workers.engine.models.families.library.network import LibraryNetwork
from workers.engine.models.modules import LearnedPositions
from workers.engine.models.network import Network
from workers.engine.models.sharing.cross_stitch import Stitch


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"init/{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") & (2**63 - 1))


@torch.no_grad()
def _uniform(parameter: nn.Parameter, bound: float, seed: int, name: str) -> None:
    drawn = torch.rand(parameter.shape, generator=_generator(seed, name), dtype=torch.float32)
    parameter.copy_(drawn.mul_(2.0).sub_(1.0).mul_(bound))


@torch.no_grad()
def initialise(network: Network, seed: int) -> None:
    """Draw weights and biases from U(-1/√fan_in, 1/√fan_in), torch's own distribution for linear layers and
    convolutions (He et al. 2015 with a = √5); normalisations start as the identity, stitches as their scheme states.
    Positions are drawn as if they were the weights of what reads them: U(-1/√width, 1/√width). In place. The trunk of a
    library's network is drawn as the library does.
    """
    drawn: set[nn.Module] = set()
    if isinstance(network, LibraryNetwork):
        network.initialise_trunk(seed)
        drawn = {*network.trunk.modules(), *network.fixed_heads()}
    for module_name, module in network.named_modules():
        if module in drawn:
            continue
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | LearnedPositions):
            bound = 1.0 / sqrt(module.weight[0].numel())
            for name, parameter in module.named_parameters(recurse=False):
                _uniform(parameter, bound, seed, f"{module_name}.{name}")
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | Stitch):
            module.reset_parameters()
