"""Keeps training losses on the device and transfers them rarely, so that steps do not wait for the host.

The mean over a window of steps is one point of each series. A step keeps its losses as they are; sums, and the search
for losses that are not finite, are made for many steps at once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.wire.events import MetricPoint

POINTS = 500
"""Approximate number of points of a series."""
_MOST_NEW = 1024
"""Steps whose losses are kept one by one."""


class LossRecorder:
    """The training losses of one learner by the names of their series: totals come before the tasks' terms."""

    def __init__(self, series: Sequence[str], steps: int, device: torch.device) -> None:
        self._series = tuple(series)
        self._window = max(1, steps // POINTS)
        self._new: list[Tensor] = []
        self._factors: list[tuple[Sequence[float], Sequence[float]]] = []
        self._steps: list[tuple[int, int]] = []
        """(step, epoch) of each of `_new`."""
        self._open = torch.zeros(0, len(self._series), device=device, dtype=torch.float64)
        """The rows of the incomplete window before `_new`. They are not summed, so that a run that is interrupted, or
        whose points are taken at other times, has the same points.
        """
        self._bad_step = torch.full((len(self._series),), -1, dtype=torch.int64, device=device)
        self._pending: list[tuple[list[tuple[int, int]], Tensor]] = []

    def add(
        self, values: Tensor, step: int, epoch: int, scales: Sequence[float] = (), weights: Sequence[float] = ()
    ) -> None:
        """Record the losses of optimizer step `step` (1, 2, 3 …): one number a series, on the device, which is not a
        part of a graph. With `scales` and `weights` the first series is left out: it is Σ weight · scale · value, and
        each of the others is scale · value.
        """
        self._new.append(values)
        self._factors.append((scales, weights))
        self._steps.append((step, epoch))
        if len(self._new) == _MOST_NEW:
            self._reduce()

    def take(self) -> list[MetricPoint]:
        """Return and clear the points of complete windows. Waits for the device. Raises UserError `diverged`."""
        self._raise_if_diverged()
        if not self._pending:
            return []
        means = torch.cat([means for _, means in self._pending]).tolist()
        ends = [end for ends, _ in self._pending for end in ends]
        points = [
            MetricPoint(series=series, step=step, epoch=epoch, value=value)
            for (step, epoch), row in zip(ends, means, strict=True)
            for series, value in zip(self._series, row, strict=True)
        ]
        self._pending.clear()
        return points

    def first_bad_step(self) -> int | None:
        """The first step with a loss that is not finite, or None. Waits for the device."""
        self._reduce()
        return min((step for step in self._bad_step.tolist() if step >= 0), default=None)

    def _reduce(self) -> None:
        """Search the new rows for numbers that are not finite, and make the means of complete windows."""
        if not self._new:
            return
        new = self._columns()
        self._find_bad(new)
        rows = torch.cat([self._open, new])
        windows, rest = divmod(len(rows), self._window)
        whole = len(rows) - rest
        if windows:
            ends = self._steps[self._window - 1 - len(self._open) :: self._window]
            self._pending.append((ends, rows[:whole].reshape(windows, self._window, -1).mean(1)))
        self._open = rows[whole:].clone()
        self._new, self._factors, self._steps = [], [], []

    def _columns(self) -> Tensor:
        """The new rows, one number a series: float64 [n, S]."""
        rows = torch.stack(self._new).double()
        factors = torch.tensor(self._factors, dtype=torch.float64).to(rows.device, non_blocking=True)
        if factors.shape[2] == 0:
            return rows
        means = factors[:, 0] * rows
        return torch.cat([(factors[:, 1] * means).sum(1, keepdim=True), means], dim=1)

    def _find_bad(self, rows: Tensor) -> None:
        numbers = torch.tensor([step for step, _ in self._steps]).to(rows.device, non_blocking=True)[:, None]
        never = torch.iinfo(torch.int64).max
        first = torch.where(rows.isfinite(), never, numbers).amin(0)
        is_new = (self._bad_step < 0) & (first < never)
        self._bad_step = torch.where(is_new, first, self._bad_step)

    def _raise_if_diverged(self) -> None:
        self._reduce()
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

    def state(self) -> dict[str, Tensor]:
        """The losses of the incomplete window."""
        self._reduce()
        return {"rows": self._open}

    def load(self, tensors: dict[str, Tensor], filled: int = 0) -> None:
        """The inverse of `state`. Older checkpoints have the sums of `filled` steps, maybe none, instead of rows."""
        rows = tensors.get("rows")
        if rows is None:
            rows = (tensors["sums"] / max(1, filled)).expand(filled, -1)
        self._open = rows.to(self._open)
