"""Whether gradients are finite: looked at on the device in every step, read on the host as rarely as the losses.

A gradient can overflow while the loss is finite, and what it leaves behind (weights of −∞ under a relu) need not show
in any later loss.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from app.contracts.problems import UserError


class GradientCheck:
    """The first step at which the gradient of some group of parameters was not finite. Groups are (terms that reach it,
    parameters).
    """

    def __init__(
        self, prefix: str, groups: Sequence[tuple[Sequence[str], Sequence[nn.Parameter]]], device: torch.device
    ) -> None:
        self._prefix = prefix
        self._groups = [(tuple(terms), list(parameters)) for terms, parameters in groups if len(parameters) > 0]
        self._found = torch.zeros(len(self._groups), device=device)
        self._flags = [self._found[i : i + 1] for i in range(len(self._groups))]
        self._one = torch.ones(1, device=device)
        self._bad_steps = torch.zeros(len(self._groups), device=device, dtype=torch.float64)
        self._step = 0

    def look(self, step: int) -> None:
        """Look at `.grad` of all parameters in step `step` (1, 2, 3 …, each). Gradients stay as they are."""
        for (_, parameters), flag in zip(self._groups, self._flags, strict=True):
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            if gradients:
                # One kernel for all, which GradScaler uses: sets the flag, and multiplies by 1. A flag stays set.
                torch._amp_foreach_non_finite_check_and_unscale_(gradients, flag, self._one)
        self._bad_steps += self._found
        self._step = step

    def expect_finite(self, before: int | None) -> None:
        """Waits for the device. Raises UserError `diverged` where a gradient was not finite in a step before `before`,
        in which a loss was not.
        """
        bad = [self._step - int(count) + 1 if count else None for count in self._bad_steps.tolist()]
        steps = [step for step in bad if step is not None and (before is None or step < before)]
        if not steps:
            return
        first = min(steps)
        # What is a task's own says more than what tasks share, and comes after it.
        terms = [terms for (terms, _), step in zip(self._groups, bad, strict=True) if step == first][-1]
        named = ", ".join(f"{self._prefix}{term}" for term in terms)
        raise UserError(
            "diverged",
            f"the gradient of {named} is not finite at step {first}, though the loss is: lower "
            "`training.learning_rate`, or look at the inputs' and targets' scale; the newest checkpoint of before, "
            "if there is one, is kept",
        )


def are_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether every number of every tensor is finite. Waits once for each device."""
    ends: dict[torch.device, list[Tensor]] = {}
    for value in tensors:
        if value.is_floating_point() and value.numel() > 0:
            # The least or the greatest is not finite where any number is not: one pass, and no tensor in between.
            ends.setdefault(value.device, []).extend(end.double() for end in torch.aminmax(value.detach()))
    return all(bool(torch.stack(found).isfinite().all()) for found in ends.values())
