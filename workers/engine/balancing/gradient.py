"""Gradient balancers of torchjd behind one adapter.

Trunk: the Jacobian R·J of the objectives on the shared parameters, one row for each task that is present, is
aggregated as A(J/s)·s with s the mean row norm, so that every method is equivariant to the losses' scale and works
for gradients of any size (METHODS.md section 5, traps 4 and 5). Heads: each gets the gradient of its own weighted
loss (trap 7). Clipping comes after aggregation, the trunk apart from the heads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchjd.aggregation import Aggregator
from torchjd.autojac import backward as jacobian_backward

from workers.engine.balancing.balancer import Losses, Parameters, Shared, Stateless, clip_together
from workers.engine.randomness import seed_step
from workers.engine.relations import Relation


def _trained(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]


def _jacobian(parameter: nn.Parameter) -> Tensor | None:
    """What torchjd accumulated; it keeps Jacobians in an attribute of its own beside `.grad`."""
    found: Tensor | None = vars(parameter).get("jac")
    return found


def _taken_jacobian(parameter: nn.Parameter) -> Tensor:
    taken: Tensor = vars(parameter).pop("jac")
    return taken


def scaled_aggregate(aggregator: Aggregator, jacobian: Tensor) -> Tensor:
    """A(J/s)·s with s the mean norm of J's rows: J [K, P] -> [P]; zeros where all rows are zero."""
    scale = jacobian.norm(dim=1).mean()
    safe = torch.where(scale > 0.0, scale, torch.ones_like(scale))
    update: Tensor = aggregator(jacobian / safe) * scale
    return update


class GradientBalancer(Stateless):
    """Any torchjd aggregator. Update length: PCGrad's is that of the sum when no gradients conflict (3.0 for three
    equal unit gradients), as `fixed` has it, so no constant is applied.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        weights: Sequence[float],
        relation: Relation | None,
        seed: int,
    ) -> None:
        self._aggregator = aggregator
        self._weights = tuple(weights)
        self._relation = relation
        self._seed = seed

    def backward(self, losses: Losses, parameters: Parameters) -> None:
        """Add R·J of a micro-batch to `.jac` of the trunk, and the heads' own gradients to `.grad`."""
        if not losses.values:
            return
        for shared in parameters.shared:
            self._shared_backward(losses, shared)
        self._own_backward(losses, parameters)

    def _shared_backward(self, losses: Losses, shared: Shared) -> None:
        trained = _trained(shared.parameters)
        reaching = [place for place, task in enumerate(losses.present) if task in shared.tasks]
        if not trained or not reaching:
            return
        present = [losses.present[place] for place in reaching]
        relation = torch.eye(len(present)) if self._relation is None else self._relation.over(present)
        values = [losses.values[place] for place in reaching]
        columns = [relation[:, j].to(loss) for j, loss in enumerate(values)]
        jacobian_backward(values, jac_tensors=columns, inputs=trained, retain_graph=True, parallel_chunk_size=1)

    def _own_backward(self, losses: Losses, parameters: Parameters) -> None:
        own = _trained(parameters.own_of(losses.present))
        if own:
            weighted = [self._weights[i] * loss for i, loss in zip(losses.present, losses.values, strict=True)]
            torch.autograd.backward(weighted, inputs=own)

    def finish(self, present: Sequence[int], parameters: Parameters, step: int) -> None:
        """Aggregate `.jac` into `.grad`. Frozen or unused parameters have none and are passed over (trap 8)."""
        seed_step(self._seed, "balancer", step)
        for shared in parameters.shared:
            reached = [p for p in shared.parameters if _jacobian(p) is not None]
            if not reached:
                continue
            jacobian = torch.cat([_taken_jacobian(p).flatten(1) for p in reached], dim=1)
            update = scaled_aggregate(self._aggregator, jacobian)
            for parameter, part in zip(reached, torch.split(update, [p.numel() for p in reached]), strict=True):
                parameter.grad = part.view_as(parameter)

    def clip(self, parameters: Parameters, norm: float) -> None:
        """The trunk and the heads apart: aggregation gives them lengths that do not compare."""
        clip_together(parameters.trunk, norm)
        clip_together(parameters.own_of(range(len(parameters.own))), norm)
