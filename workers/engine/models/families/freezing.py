"""Frozen layers: parameters without gradients, in modules that stay in evaluation mode."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from app.contracts.layouts.frozen import selects
from app.contracts.problems import UserError, listed
from app.contracts.specs.training import Frozen, FrozenUntil
from workers.engine.models.families.blocks import DataOrder
from workers.engine.models.network import Network
from workers.engine.models.taps import Taps


class FrozenLayers:
    """Freezes layers of a network for good. `evaluate` is to be called whenever the network enters training mode."""

    def __init__(self, network: Network, frozen: Frozen | None) -> None:
        """Raises UserError `unknown_layer` where a name is none of the network's, and `nothing_trained` where nothing
        is left to train.
        """
        self._modules: list[nn.Module] = []
        self._parameters: set[nn.Parameter] = set()
        if frozen is None:
            return
        parameters, modules = (
            _until(network, frozen.until) if isinstance(frozen, FrozenUntil) else _named(network, frozen)
        )
        by_name = dict(network.named_parameters())
        self._parameters = {by_name[name] for name in parameters}
        self._modules = modules
        if len(parameters) == len(by_name):
            raise UserError(
                "nothing_trained", "`training.frozen` names all layers of the network: leave one out, such as a head"
            )
        for parameter in self._parameters:
            parameter.requires_grad_(False)

    def __contains__(self, parameter: nn.Parameter) -> bool:
        return parameter in self._parameters

    def evaluate(self) -> None:
        """Put what is frozen into evaluation mode."""
        for module in self._modules:
            module.training = False

    def check(self, network: Network, layers: Sequence[str]) -> None:
        """Check that each output and each tapped layer depends on something that is trained.

        Raises UserError `nothing_trained` and `frozen_layer`.
        """
        if not self._parameters:
            return
        outputs, taps = _outputs(network, layers)
        still = [name for name, value in outputs.items() if not value.requires_grad]
        if still:
            raise UserError(
                "nothing_trained",
                f"`training.frozen` leaves nothing to train for {listed(still)}: leave the head out of it, or a layer "
                "before it",
            )
        taught = [name for name, value in taps.items() if not value.requires_grad]
        if taught:
            raise UserError(
                "frozen_layer",
                f"a feature term teaches {listed(taught)}, expected layers that depend on a trained one, and all up to "
                "there is frozen: name a later layer, or freeze less",
            )


def _named(network: Network, entries: Sequence[str]) -> tuple[list[str], list[nn.Module]]:
    """(names of parameters, modules) that the entries mean. A module that is also a part of something else is none."""
    outputs = tuple(network.output_sizes)
    parameters = [name for name, _ in network.named_parameters()]
    for entry in entries:
        if not any(selects(entry, name, outputs) for name in parameters):
            raise _unknown(entry, parameters)
    names: dict[nn.Module, list[str]] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)

    def is_frozen(name: str) -> bool:
        return any(selects(entry, name, outputs) for entry in entries)

    modules = [module for module, own in names.items() if all(map(is_frozen, own))]
    return [name for name in parameters if is_frozen(name)], modules


def _until(network: Network, layer: str) -> tuple[list[str], list[nn.Module]]:
    """(names of parameters, modules) that data enter before a layer."""
    modules = dict(network.named_modules(remove_duplicate=False))
    if layer not in modules:
        raise _unknown(layer, modules)
    order = DataOrder(network)
    found = order.entry(layer)
    if found is None:
        raise UserError(
            "unknown_layer",
            f"no data pass `{layer}` of the network by a call of its own, expected a layer that is called: name the "
            "layer around it, or another",
        )
    # Heads stand side by side: up to one of them is up to the first.
    heads = [order.entry(network.head_name(output)) for output in network.output_sizes]
    at = min([found, *(head for head in heads if head is not None)])
    parameters = [name for name, _ in network.named_parameters() if order.of_parameter(name) < at]
    lasts = {name: order.last_entry(name) for name in modules}
    before = [module for name, module in modules.items() if (last := lasts[name]) is not None and last < at]
    return [name for name in parameters if not name.startswith(f"{layer}.")], before


def _unknown(entry: str, names: Sequence[str] | dict[str, nn.Module]) -> UserError:
    beginning = entry.rpartition(".")[0] or entry.partition(".")[0]
    near = [name for name in names if name.startswith(beginning)] or [name for name in names if name]
    return UserError(
        "unknown_layer",
        f"`training.frozen` names `{entry}`, expected layers or parameters of the network, found {listed(near)}: "
        "correct the name, or leave it out",
    )


def _outputs(network: Network, layers: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The outputs and tapped layers of one row with a graph, in evaluation mode."""
    modes = {module: module.training for module in network.modules()}
    taps = Taps(network, layers)
    network.eval()
    try:
        with torch.enable_grad():
            outputs = network(network.example())
        return outputs, taps.take()
    finally:
        taps.close()
        for module, mode in modes.items():
            module.training = mode
