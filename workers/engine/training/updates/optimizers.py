"""Optimizers by name, with torch's fused kernels: one pass over all parameters, no host work in each step."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, assert_never

import torch
from torch import Tensor, nn

from app.contracts.specs.training import TrainingSettings

POSITION: Final = "places"
"""The entry of a parameter group with the places of its parameters in the network."""
FACTOR: Final = "factor"
"""The entry of a parameter group with its factor on the learning rate."""
Factors = Mapping[nn.Parameter, float]


def make_optimizer(
    training: TrainingSettings,
    parameters: Iterable[nn.Parameter],
    factors: Factors | None = None,
    *,
    stacked: bool = False,
) -> torch.optim.Optimizer:
    """Sgd (with momentum), adam (Kingma 2015; decay as an L2 term) or adamw (Loshchilov 2019; decoupled decay).

    Weights decay where they are matrices or kernels, not where they are biases or scales of a normalisation.
    Parameters without a gradient are left out. `factors`: on the learning rate, 1 where a parameter has none.
    `stacked`: every parameter has a first dimension of candidates.
    """
    sides = 3 if stacked else 2
    rate, groups = training.rate, _groups(list(parameters), training.weight_decay, sides, factors or {})
    match training.optimizer:
        case "sgd":
            sgd = torch.optim.SGD(groups, lr=rate, momentum=training.momentum, fused=True)
            if training.momentum > 0.0:
                _zero_momentum(sgd)
            return sgd
        case "adam":
            return torch.optim.Adam(groups, lr=rate, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate, fused=True)
        case _:
            assert_never(training.optimizer)


def _groups(parameters: list[nn.Parameter], decay: float, sides: int, factors: Factors) -> list[dict[str, Any]]:
    """One group, or where weights decay two, of each factor on the learning rate. `POSITION` of a group has its
    parameters' places in the network.
    """
    places = [place for place, parameter in enumerate(parameters) if parameter.requires_grad]
    if decay == 0.0:
        parts = [(places, 0.0)]
    else:
        matrices = [place for place in places if parameters[place].dim() >= sides]
        others = [place for place in places if parameters[place].dim() < sides]
        parts = [(part, own) for part, own in ((matrices, decay), (others, 0.0)) if part]
    return [
        {"params": [parameters[place] for place in same], "weight_decay": own, POSITION: same, FACTOR: factor}
        for part, own in parts
        for factor, same in _by_factor(part, parameters, factors).items()
    ]


def _by_factor(places: Sequence[int], parameters: list[nn.Parameter], factors: Factors) -> dict[float, list[int]]:
    """The places of each factor."""
    found: dict[float, list[int]] = {}
    for place in places:
        found.setdefault(factors.get(parameters[place], 1.0), []).append(place)
    return found


def _zero_momentum(sgd: torch.optim.SGD) -> None:
    """Create every momentum buffer at the start. The fused kernel needs all buffers of a group or none, and a head
    whose task is absent from the first batches would otherwise get its buffer later than the trunk.
    """
    for group in sgd.param_groups:
        for parameter in group["params"]:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step, which each group multiplies by its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[FACTOR]


def _places(optimizer: torch.optim.Optimizer) -> list[int]:
    """The place in the network of each parameter, in the order in which the optimizer counts them."""
    return [place for group in optimizer.param_groups for place in group[POSITION]]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer, by `<place of the parameter in the network>/<name>`."""
    states, places = optimizer.state_dict()["state"], _places(optimizer)
    return {
        f"{places[index]}/{key}": value
        for index, entries in states.items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    indices = {place: index for index, place in enumerate(_places(optimizer))}
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        place, key = name.split("/", 1)
        states.setdefault(indices[int(place)], {})[key] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
