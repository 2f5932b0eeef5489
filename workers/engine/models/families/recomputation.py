"""Gradient checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost") of a network's blocks.

A block keeps its inputs, and the backward pass computes what is inside it again: with the same random numbers, so that
dropout and paths that are left out are the same, and without a second update of BatchNorm's statistics.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from app.contracts.problems import UserError
from workers.engine.models.families.blocks import blocks_of, is_layer
from workers.engine.models.network import Network

_Norm = nn.modules.batchnorm._BatchNorm
_Forward = Callable[..., Any]


class Recomputation:
    """Lets the blocks of a network compute their activations again in the backward pass; `remove` ends that.

    Names, parameters and hooks of the network stay. A hook of a layer inside a block is called again there.
    """

    def __init__(self, network: Network) -> None:
        """Raises UserError `no_blocks`."""
        self._blocks = [block for block in blocks_of(network).values() if not is_layer(block)]
        if not self._blocks:
            raise UserError(
                "no_blocks",
                "`training.gradient_checkpointing` computes blocks again, and this network has none: leave it out",
            )
        for block in self._blocks:
            block.__dict__["forward"] = partial(_recomputed, network, block, block.forward)

    def remove(self) -> None:
        """Make the network an ordinary one."""
        for block in self._blocks:
            del block.__dict__["forward"]
        self._blocks = []


def _recomputed(network: Network, block: nn.Module, forward: _Forward, *arguments: Any, **named: Any) -> Any:
    if not (torch.is_grad_enabled() and network.training):
        return forward(*arguments, **named)
    arguments = tuple(_copied(each) for each in arguments)
    given = _versions(arguments)

    def run(*arguments: Any, **named: Any) -> Any:
        outputs = forward(*arguments, **named)
        if _versions(arguments) != given:
            raise UserError(
                "recomputation_undefined",
                "`training.gradient_checkpointing` expects blocks that leave their inputs as they are, found one that "
                "writes into them: leave it out, or use another network",
            )
        return outputs

    norms = [module for module in block.modules() if isinstance(module, _Norm)]

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _WithoutUpdates(norms)

    return checkpoint(run, *arguments, use_reentrant=False, preserve_rng_state=True, context_fn=contexts, **named)


def _copied(argument: Any) -> Any:
    """A list as it is now: the caller may append to it, as a dense block does."""
    return list(argument) if isinstance(argument, list) else argument


def _versions(arguments: tuple[Any, ...]) -> list[int]:
    """How often each tensor was written into."""
    versions = []
    for argument in arguments:
        each = argument if isinstance(argument, list | tuple) else (argument,)
        versions += [tensor._version for tensor in each if isinstance(tensor, Tensor)]
    return versions


class _WithoutUpdates(AbstractContextManager[None]):
    """BatchNorm with the statistics of its batch, which does not update its running ones.

    With a momentum of 0 they are multiplied by 1. Without them the kernel would save other tensors than the first time.
    It is entered once for each backward pass through a graph.
    """

    def __init__(self, norms: list[_Norm]) -> None:
        self._norms = norms
        self._kept: list[tuple[_Norm, float | None, Tensor | None]] = []

    def __enter__(self) -> None:
        self._kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in self._norms]
        for norm in self._norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, *error: object) -> None:
        for norm, momentum, batches in self._kept:
            norm.momentum, norm.num_batches_tracked = momentum, batches
