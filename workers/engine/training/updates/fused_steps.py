"""Optimizer steps by torch's fused kernels alone.

`Optimizer.step` collects the tensors of every group, sorts them by device and type and checks its settings anew in each
step: of a small network that takes several times as long as the kernels. The bits are the same.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from workers.engine.training.updates.optimizers import set_learning_rate

Kernel = Callable[[list[Tensor], float], None]
"""(gradients of a group's parameters, learning rate) -> their update."""


class FusedSteps:
    """Steps of an optimizer made with `fused=True`. Call `forget` after its state was loaded."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._parameters: list[nn.Parameter] = [each for group in optimizer.param_groups for each in group["params"]]
        self._kernels: list[Kernel] = []

    def zero_grad(self) -> None:
        """Remove all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def forget(self) -> None:
        """Look up the optimizer's state again."""
        self._kernels = []

    def step(self, rate: float) -> None:
        """One step at this learning rate, which each group multiplies by its factor.

        torch's own `step` makes the first one, which creates the state, and those in which a parameter has no gradient.
        """
        set_learning_rate(self._optimizer, rate)
        groups = self._optimizer.param_groups
        gradients = [[each.grad for each in group["params"]] for group in groups]
        if not self._kernels:
            self._kernels = self._found()
        if not self._kernels or any(each is None for group in gradients for each in group):
            self._optimizer.step()
            return
        with torch.no_grad():
            for group, kernel, of_group in zip(groups, self._kernels, gradients, strict=True):
                kernel([each for each in of_group if each is not None], group["lr"])

    def _found(self) -> list[Kernel]:
        """The kernel of each group; none where torch's own `step` is needed to create or sort the state."""
        kernels = []
        for group in self._optimizer.param_groups:
            parameters, states = group["params"], [self._optimizer.state[each] for each in group["params"]]
            if any(not state for state in states) and not isinstance(self._optimizer, torch.optim.SGD):
                return []
            if len({(each.device, each.dtype) for each in parameters}) > 1:
                return []
            kernels.append(_kernel(self._optimizer, group, states))
        return kernels


def _kernel(optimizer: torch.optim.Optimizer, group: dict[str, Any], states: Sequence[dict[str, Tensor]]) -> Kernel:
    if isinstance(optimizer, torch.optim.SGD):
        return partial(_sgd, group, [state["momentum_buffer"] for state in states if "momentum_buffer" in state])
    means, squares, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
    return partial(_adam, group, means, squares, steps)


def _adam(
    group: dict[str, Any],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
    gradients: list[Tensor],
    rate: float,
) -> None:
    torch._foreach_add_(steps, 1)
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    kernel(
        group["params"],
        gradients,
        means,
        squares,
        [],
        steps,
        lr=rate,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )


def _sgd(group: dict[str, Any], momenta: list[Tensor], gradients: list[Tensor], rate: float) -> None:
    torch._fused_sgd_(
        group["params"],
        gradients,
        momenta,
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        lr=rate,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )
