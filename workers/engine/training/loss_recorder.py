"""Records training losses on the device and transfers them rarely, so that steps do not wait for the host.

The mean over a window of steps is one point of each series. The first step with a loss that is not finite is recorded
on the device as well, for each term.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.wire.events import MetricPoint

POINTS = 500
"""Approximate number of points of a series."""


class LossRecorder:
    """The training losses of one learner by the names of their series: totals come before the tasks' terms."""

    def __init__(self, series: Sequence[str], steps: int, device: torch.device) -> None:
        self._series = tuple(series)
        self._window = max(1, steps // POINTS)
        self._sums = torch.zeros(len(self._series), device=device)
        self._bad_step = torch.full((len(self._series),), -1, dtype=torch.int64, device=device)
        self._filled = 0
        self._pending: list[tuple[int, int, Tensor]] = []

    def add(self, values: Tensor, step: int, epoch: int) -> None:
        """Record the losses of optimizer step `step` (1, 2, 3 …): one number a series, on the device."""
        row = values.detach().float()
        self._sums += row
        bad = ~row.isfinite() & (self._bad_step < 0)
        self._bad_step.masked_fill_(bad, step)
        self._filled += 1
        if self._filled == self._window:
            self._pending.append((step, epoch, self._sums / self._filled))
            self._sums = torch.zeros_like(self._sums)
            self._filled = 0

    def take(self) -> list[MetricPoint]:
        """Return and clear the points of complete windows. Waits for the device. Raises UserError `diverged`."""
        self._raise_if_diverged()
        if not self._pending:
            return []
        means = torch.stack([mean for _, _, mean in self._pending]).tolist()
        points = [
            MetricPoint(series=series, step=step, epoch=epoch, value=value)
            for (step, epoch, _), row in zip(self._pending, means, strict=True)
            for series, value in zip(self._series, row, strict=True)
        ]
        self._pending.clear()
        return points

    def first_bad_step(self) -> int | None:
        """The first step with a loss that is not finite, or None. Waits for the device."""
        return min((step for step in self._bad_step.tolist() if step >= 0), default=None)

    def _raise_if_diverged(self) -> None:
        bad = self._bad_step.tolist()
        steps = [step for step in bad if step >= 0]
        if not steps:
            return
        first = min(steps)
        # The total is not finite because a term is not: name the term.
        series = [each for each, step in zip(self._series, bad, strict=True) if step == first]
        raise UserError(
            "diverged",
            f"{series[-1]} is not finite at step {first}: lower `training.learning_rate`, set "
            "`training.clip_norm`, or check the scale of the inputs; the newest checkpoint before that step, if there "
            "is one, is kept",
        )

    def state(self) -> tuple[dict[str, Tensor], int]:
        """(tensors, number of steps in the incomplete window)."""
        return {"sums": self._sums}, self._filled

    def load(self, tensors: dict[str, Tensor], filled: int) -> None:
        """The inverse of `state`."""
        self._sums.copy_(tensors["sums"])
        self._filled = filled
