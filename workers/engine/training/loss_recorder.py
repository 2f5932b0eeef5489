"""Losses of the steps, summed on the device and read rarely, so that no step waits for the host.

A window of steps becomes one point of each series: its mean. The first step whose loss is not finite is kept on
the device too, with the term that it came from.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.wire.events import MetricPoint

POINTS = 500
"""About how many points a series has at the end."""


class LossRecorder:
    """The training losses of one learner: column 0 is the total, then each task's terms."""

    def __init__(self, prefix: str, columns: Sequence[str], steps: int, device: torch.device) -> None:
        self._prefix = prefix
        self._columns = ("loss", *columns)
        self._window = max(1, steps // POINTS)
        self._sums = torch.zeros(len(self._columns), device=device)
        self._bad_step = torch.full((len(self._columns),), -1, dtype=torch.int64, device=device)
        self._filled = 0
        self._pending: list[tuple[int, int, Tensor]] = []

    def add(self, values: Sequence[Tensor], step: int, epoch: int) -> None:
        """The losses of optimiser step `step` (1, 2, 3 …): scalars on the device, total first."""
        row = torch.stack([value.detach().float() for value in values])
        self._sums += row
        bad = ~row.isfinite() & (self._bad_step < 0)
        self._bad_step.masked_fill_(bad, step)
        self._filled += 1
        if self._filled == self._window:
            self._pending.append((step, epoch, self._sums / self._filled))
            self._sums = torch.zeros_like(self._sums)
            self._filled = 0

    def take(self) -> list[MetricPoint]:
        """The points of the windows that are full; waits for the device. Raises UserError `diverged`."""
        self._raise_if_diverged()
        if not self._pending:
            return []
        means = torch.stack([mean for _, _, mean in self._pending]).tolist()
        points = [
            MetricPoint(series=f"{self._prefix}{column}", step=step, epoch=epoch, value=value)
            for (step, epoch, _), row in zip(self._pending, means, strict=True)
            for column, value in zip(self._columns, row, strict=True)
        ]
        self._pending.clear()
        return points

    def first_bad_step(self) -> int | None:
        """The first step with a loss that is not finite; waits for the device."""
        return min((step for step in self._bad_step.tolist() if step >= 0), default=None)

    def _raise_if_diverged(self) -> None:
        bad = self._bad_step.tolist()
        steps = [step for step in bad if step >= 0]
        if not steps:
            return
        first = min(steps)
        # The total is not finite because a term is not: name the term.
        where = [column for column, step in zip(self._columns, bad, strict=True) if step == first]
        raise UserError(
            "diverged",
            f"{self._prefix}{where[-1]} is not finite at step {first}: lower `training.learning_rate`, set "
            f"`training.clip_norm`, or look at the inputs' scale; the newest checkpoint of before, if there is "
            "one, is kept",
        )

    def state(self) -> tuple[dict[str, Tensor], int]:
        """(tensors, steps in the open window)."""
        return {"sums": self._sums}, self._filled

    def load(self, tensors: dict[str, Tensor], filled: int) -> None:
        """The inverse of `state`."""
        self._sums.copy_(tensors["sums"])
        self._filled = filled
