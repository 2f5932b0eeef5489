"""Detects gradients that are not finite: checked on the device in every step, read by the host as rarely as losses.

A gradient can overflow while the loss is finite, and its effect (weights of −∞ before a relu) need not show in any
later loss.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from app.contracts.problems import UserError


class GradientCheck:
    """Finds the first step with a gradient that is not finite, by groups of parameters.

    A group is (names of the terms that have a gradient on it, parameters).
    """

    def __init__(
        self, prefix: str, groups: Sequence[tuple[Sequence[str], Sequence[nn.Parameter]]], device: torch.device
    ) -> None:
        self._prefix = prefix
        self._groups = [(tuple(terms), list(parameters)) for terms, parameters in groups if len(parameters) > 0]
        self._not_finite = torch.zeros(len(self._groups), device=device)
        self._flags = [self._not_finite[i : i + 1] for i in range(len(self._groups))]
        self._one = torch.ones(1, device=device)
        self._bad_steps = torch.zeros(len(self._groups), device=device, dtype=torch.float64)
        self._step = 0

    def check(self, step: int) -> None:
        """Check `.grad` of all parameters; to be called in every step (1, 2, 3 …). Gradients do not change."""
        for (_, parameters), flag in zip(self._groups, self._flags, strict=True):
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            if gradients:
                # GradScaler's kernel for all gradients: multiplies by 1, and sets the flag, which is never reset.
                torch._amp_foreach_non_finite_check_and_unscale_(gradients, flag, self._one)
        self._bad_steps += self._not_finite
        self._step = step

    def raise_if_not_finite(self, before: int | None) -> None:
        """Raise UserError `diverged` if a gradient was not finite in a step before `before`, the first step with a loss
        that was not. Waits for the device.
        """
        bad = [self._step - int(count) + 1 if count else None for count in self._bad_steps.tolist()]
        steps = [step for step in bad if step is not None and (before is None or step < before)]
        if not steps:
            return
        first = min(steps)
        # A task's own parameters are more specific than shared ones, and come after them.
        terms = [terms for (terms, _), step in zip(self._groups, bad, strict=True) if step == first][-1]
        named = ", ".join(f"{self._prefix}{term}" for term in terms)
        raise UserError(
            "diverged",
            f"the gradient of {named} is not finite at step {first}, though the loss is: lower "
            "`training.learning_rate`, or check the scale of inputs and targets; the newest checkpoint before that "
            "step, if there is one, is kept",
        )


def are_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether every number of every tensor is finite. Waits once for each device."""
    extrema: dict[torch.device, list[Tensor]] = {}
    for value in tensors:
        if value.is_floating_point() and value.numel() > 0:
            # Minimum or maximum is not finite where any number is not: one pass, without a temporary tensor.
            extrema.setdefault(value.device, []).extend(extremum.double() for extremum in torch.aminmax(value.detach()))
    return all(bool(torch.stack(values).isfinite().all()) for values in extrema.values())
