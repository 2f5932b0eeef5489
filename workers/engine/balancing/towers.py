"""R by towers: row i of R drives the tower of task i, whatever balances the rest.

With trunks that reach each other (cross_stitch) a loss has a gradient on every tower. Tower i is moved by
Σ_j R_ij w_j ∂L_j, rows normalised over the tasks that are present; stitches, heads and all else are the balancer's.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from workers.engine.balancing.balancer import Balancer, Losses, Parameters, Shared
from workers.engine.balancing.relation.matrix import Relation
from workers.engine.balancing.slots import Places


class TowerRows:
    """A balancer whose towers are driven by rows of R."""

    has_gramian = False

    def __init__(self, balancer: Balancer, weights: Sequence[float], relation: Relation) -> None:
        self._balancer = balancer
        self._weights = tuple(weights)
        self._places = Places(relation)
        self._gradients: dict[nn.Parameter, Tensor] = {}
        self.needs_whole_batch, self.needs_losses_after = balancer.needs_whole_batch, balancer.needs_losses_after

    @property
    def last_weights(self) -> Tensor | None:
        """Of everything but the towers."""
        return self._balancer.last_weights

    @property
    def last_gramian(self) -> Tensor | None:
        """None: the towers are not in the balancer's."""
        return None

    def begin_step(self, step: int) -> None:
        self._gradients = {}
        self._balancer.begin_step(step)

    def backward(self, losses: Losses, parameters: Parameters) -> None:
        """The towers' gradients, then whatever the balancer does with the rest."""
        for shared in parameters.shared:
            if shared.tower is not None:
                self._drive(shared, shared.tower, losses)
        self._balancer.backward(losses, _rest(parameters))

    def _drive(self, shared: Shared, tower: int, losses: Losses) -> None:
        trained = [parameter for parameter in shared.parameters if parameter.requires_grad]
        if tower not in losses.present or not trained:
            return
        place = self._places.of(losses.present, losses.values[0].device)
        assert place.relation is not None
        row = place.relation[losses.present.index(tower)]
        driven = [self._weights[j] * row[k] * losses.values[k] for k, j in enumerate(losses.present)]
        found = torch.autograd.grad(torch.stack(driven).sum(), trained, retain_graph=True, allow_unused=True)
        for parameter, gradient in zip(trained, found, strict=True):
            if gradient is not None:
                before = self._gradients.get(parameter)
                self._gradients[parameter] = gradient if before is None else before + gradient

    def finish(self, present: Sequence[int], parameters: Parameters, step: int) -> None:
        """The balancer's update of the rest; the towers' own."""
        self._balancer.finish(present, _rest(parameters), step)
        for shared in parameters.shared:
            for parameter in shared.parameters if shared.tower is not None else ():
                parameter.grad = self._gradients.get(parameter)

    def clip(self, parameters: Parameters, norm: float) -> None:
        """The towers are clipped with the trunk."""
        self._balancer.clip(parameters, norm)

    def after_step(self, again: Callable[[], Tensor]) -> None:
        self._balancer.after_step(again)

    def end_epoch(self) -> None:
        self._balancer.end_epoch()

    def state(self) -> dict[str, Tensor]:
        return self._balancer.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._balancer.load_state(state)


def _rest(parameters: Parameters) -> Parameters:
    """What is no tower."""
    return Parameters(tuple(shared for shared in parameters.shared if shared.tower is None), parameters.own)
