"""`fixed`: the literal weighted sum. With R by rows it comes to the weights Rᵀw."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workers.engine.balancing.balancer import Losses, Parameters, clip_together, refuse_others, stacked
from workers.engine.balancing.relation.matrix import Relation


class Fixed:
    """Σ_i w_i Σ_j R_ij L_j on trunk and heads alike; without R, Σ_i w_i L_i. Update length: that of the sum."""

    needs_whole_batch = False
    has_gramian = False
    needs_losses_after = False
    last_gramian: Tensor | None = None

    def __init__(self, weights: Sequence[float], relation: Relation | None = None) -> None:
        self._weights = tuple(weights)
        self._relation = relation
        self._coefficients: dict[tuple[tuple[int, ...], int], tuple[float, ...]] = {}
        self._starts: dict[tuple[tuple[int, ...], int, torch.device, torch.dtype], Tensor] = {}
        self._last: tuple[int, ...] = ()

    @property
    def last_weights(self) -> Tensor | None:
        """On the host, and computed at the call: no step pays for it."""
        if not self._last:
            return None
        whole = torch.full((len(self._weights),), torch.nan)
        whole[list(self._last)] = torch.tensor(self.coefficients(self._last))
        return whole

    @property
    def _version(self) -> int:
        return self._relation.version if self._relation is not None else 0

    def coefficients(self, present: tuple[int, ...]) -> tuple[float, ...]:
        """What the loss of each present task is multiplied by."""
        key = (present, self._version)
        if key not in self._coefficients:
            weights = torch.tensor([self._weights[i] for i in present], dtype=torch.float32)
            if self._relation is not None:
                weights = weights @ self._relation.over(present)
            self._coefficients = {k: v for k, v in self._coefficients.items() if k[1] == key[1]}
            self._coefficients[key] = tuple(weights.tolist())
        return self._coefficients[key]

    def begin_step(self, step: int) -> None:
        """Nothing to do."""

    def backward(self, losses: Losses, parameters: Parameters) -> None:
        if losses.values:
            values = stacked(losses.values)
            torch.autograd.backward(values, self._start(losses.present, values))

    def _start(self, present: tuple[int, ...], like: Tensor) -> Tensor:
        """The coefficients as what the backward pass starts with: the sum itself is never made."""
        key = (present, self._version, like.device, like.dtype)
        if key not in self._starts:
            self._starts = {kept: start for kept, start in self._starts.items() if kept[1] == key[1]}
            self._starts[key] = torch.tensor(self.coefficients(present), dtype=like.dtype, device=like.device)
        return self._starts[key]

    def finish(self, present: Sequence[int], parameters: Parameters, step: int) -> None:
        """Nothing is left to do: backward has filled `.grad`."""
        self._last = tuple(present)

    def clip(self, parameters: Parameters, norm: float) -> None:
        """All parameters together."""
        clip_together(parameters.all, norm)

    def after_step(self, again: Callable[[], Tensor]) -> None:
        """Nothing to do."""

    def end_epoch(self) -> None:
        """Nothing to do."""

    def state(self) -> dict[str, Tensor]:
        """Nothing to save."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Nothing to load."""
        refuse_others(state, {})
