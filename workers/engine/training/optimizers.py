"""Optimizers by name, with torch's fused kernels: one pass over all parameters, no host work in each step."""

from collections.abc import Iterable
from typing import assert_never

import torch
from torch import Tensor, nn

from app.contracts.specs.training import TrainingSpec


def make_optimizer(training: TrainingSpec, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Sgd (with momentum), adam (Kingma 2015; decay as an L2 term) or adamw (Loshchilov 2019; decoupled decay)."""
    trained, rate, decay = list(parameters), training.rate, training.weight_decay
    match training.optimizer:
        case "sgd":
            sgd = torch.optim.SGD(trained, lr=rate, momentum=training.momentum, weight_decay=decay, fused=True)
            if training.momentum > 0.0:
                _zero_momentum(sgd)
            return sgd
        case "adam":
            return torch.optim.Adam(trained, lr=rate, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(trained, lr=rate, weight_decay=decay, fused=True)
        case _:
            assert_never(training.optimizer)


def _zero_momentum(sgd: torch.optim.SGD) -> None:
    """Create every momentum buffer at the start. The fused kernel needs all buffers of a group or none, and a head
    whose task is absent from the first batches would otherwise get its buffer later than the trunk.
    """
    for group in sgd.param_groups:
        for parameter in group["params"]:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer, by `<index of the parameter>/<name>`."""
    states = optimizer.state_dict()["state"]
    return {
        f"{index}/{key}": value
        for index, entries in states.items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split("/", 1)
        states.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
