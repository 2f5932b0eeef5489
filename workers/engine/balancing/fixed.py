"""`fixed`: the literal weighted sum. With R by rows it comes to the weights Rᵀw."""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from workers.engine.balancing.balancer import Losses, Parameters, clip_together, refuse_others
from workers.engine.balancing.relation.matrix import Relation

_MOST_STARTS: Final = 64
"""Gradients to start with that are kept: they differ by the tasks that are present and their counted rows."""


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
        self._starts: dict[object, list[Tensor]] = {}
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
        if losses.terms:
            values = [term.value for terms in losses.terms for term in terms]
            torch.autograd.backward(values, self._starts_of(losses))

    def _starts_of(self, losses: Losses) -> list[Tensor]:
        """What the backward pass starts with at the value of each term: the gradient that it would have from the sum,
        with the same bits. The sum itself is never made.
        """
        factors = tuple((term.weight, term.count, term.value.dtype) for terms in losses.terms for term in terms)
        key = (losses.present, self._version, losses.terms[0][0].value.device, factors)
        if key not in self._starts:
            if len(self._starts) >= _MOST_STARTS:
                self._starts.clear()
            pairs = zip(self.coefficients(losses.present), losses.terms, strict=True)
            self._starts[key] = [term.start(coefficient) for coefficient, terms in pairs for term in terms]
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
