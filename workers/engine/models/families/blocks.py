"""The blocks of a network, and the order in which data pass its modules."""

from collections.abc import Iterator

from torch import nn

from workers.engine.common.eval_mode import evaluating
from workers.engine.models.families.library.network import LibraryNetwork
from workers.engine.models.named import NamedModules
from workers.engine.models.network import Network

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, NamedModules)
_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)
_STACKS = ("blocks", "layers")
"""What families and libraries call the list of a stage's blocks."""


def blocks_of(network: Network) -> dict[str, nn.Module]:
    """The blocks of a network by name, each with all layers in it; then no two have a layer in common.

    A block is a module with linear or convolution layers in it that has no list of blocks itself. A sequence of single
    layers is one block, and so is a linear or convolution layer outside of blocks. Normalisations and other parameters
    outside of blocks are in none. Heads are no blocks.
    """
    root, prefix = (network.trunk, "trunk.") if isinstance(network, LibraryNetwork) else (network, "")
    heads = {network.head_name(output) for output in network.output_sizes}
    return {name: module for name, module in _blocks(root, prefix) if name not in heads}


def _blocks(parent: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for child_name, child in parent.named_children():
        name = f"{prefix}{child_name}"
        if not any(isinstance(module, _WEIGHTED) for module in child.modules()):
            continue
        if is_layer(child) or _is_block(child):
            yield name, child
        else:
            yield from _blocks(child, f"{name}.")


def is_layer(module: nn.Module) -> bool:
    """Whether it has no modules in it."""
    return not any(True for _ in module.children())


def _is_block(module: nn.Module) -> bool:
    if isinstance(module, nn.Sequential):
        return all(is_layer(each) for each in module)
    if isinstance(module, _CONTAINERS):
        return False
    return not any(isinstance(getattr(module, name, None), _CONTAINERS) for name in _STACKS)


class DataOrder:
    """When data enter the modules of a network, as numbers that grow along a forward pass of one row."""

    def __init__(self, network: Network) -> None:
        self._modules = dict(network.named_modules(remove_duplicate=False))
        self._first: dict[nn.Module, int] = {}
        self._last: dict[nn.Module, int] = {}
        handles = [module.register_forward_pre_hook(self._enter) for module in network.modules()]
        try:
            with evaluating(network):
                network(network.example())
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: object) -> None:
        number = len(self._first) + len(self._last)
        self._first.setdefault(module, number)
        self._last[module] = number

    def entry(self, name: str) -> int | None:
        """When data first enter a module, or a module in it where it is a list that is not called itself; None where
        neither is called.
        """
        module = self._modules[name]
        if module in self._first:
            return self._first[module]
        return min((self._first[each] for each in module.modules() if each in self._first), default=None)

    def last_entry(self, name: str) -> int | None:
        """When data last enter a module or one in it; None where none is called."""
        found = [self._last[each] for each in self._modules[name].modules() if each in self._last]
        return max(found, default=None)

    def of_parameter(self, name: str) -> int:
        """When data first enter the innermost called module that the parameter is in: a parameter of the network
        itself, such as a class token, comes before all layers.
        """
        owner = name
        while owner:
            owner = owner.rpartition(".")[0]
            module = self._modules.get(owner)
            if module is not None and module in self._first:
                return self._first[module]
        return 0
