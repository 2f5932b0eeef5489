"""Accumulation for terms that compare the rows of a batch, and for balancers whose weights depend on the losses of all
of it: outputs first, then their gradients part by part.

The first pass runs every micro-batch without a graph and computes the losses of the whole batch, and their gradients
at the outputs. The second runs each micro-batch again and pulls those gradients through the network: Σ outputs · g has
the gradient of the loss, whatever compares the rows. Dropout masks are functions of (step, place), so both passes
draw the same; BatchNorm's statistics move in the second pass only.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from workers.engine.balancing.balancer import Losses, stacked
from workers.engine.data.columns import joined
from workers.engine.training.batch import Counts, MicroBatch, StepOutputs
from workers.engine.training.interface import NetworkLearner

Leaves = Mapping[str, Tensor]


def accumulate_in_two_passes(learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts) -> None:
    """Backward of a batch that comes in `parts`: as exact as one part, at the memory of one part."""
    outputs, taps = _whole(learner, parts)
    losses, means = learner.losses(StepOutputs(outputs, taps), joined([part.rows for part in parts]), counts)
    whole = stacked([loss.detach() for loss in losses.values]) if losses.values else None
    leaves = [*outputs.values(), *taps.values()]
    beside = [p for module in learner.modules.values() for p in module.parameters() if p.requires_grad]
    pulls = [
        torch.autograd.grad(loss, [*leaves, *beside], retain_graph=True, allow_unused=True) for loss in losses.values
    ]
    sizes = [len(part.rows) for part in parts]
    cuts = [[None if g is None else torch.split(g, sizes) for g in pull[: len(leaves)]] for pull in pulls]
    for place, part in enumerate(parts):
        outputs_of_part = learner.forward(part)
        values = [outputs_of_part.outputs[name] for name in outputs] + [outputs_of_part.taps[name] for name in taps]
        surrogates = []
        for pull, each in zip(pulls, cuts, strict=True):
            pairs = [(value, cut[place]) for value, cut in zip(values, each, strict=True) if cut is not None]
            if place == 0:  # what is trained beside the network has its gradient once
                pairs += [(p, g) for p, g in zip(beside, pull[len(leaves) :], strict=True) if g is not None]
            surrogates.append(_pulled(pairs))
        told = means if place == 0 else [torch.zeros_like(mean) for mean in means]
        learner.backward(Losses(losses.present, tuple(surrogates), whole), told)


def losses_of_whole(learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts) -> Tensor:
    """The losses of the tasks that are present [K] over a batch in `parts`, detached; nothing moves by it."""
    outputs, taps = _whole(learner, parts)
    with torch.no_grad():
        losses, _ = learner.losses(StepOutputs(outputs, taps), joined([part.rows for part in parts]), counts)
    return stacked(losses.values)


def _whole(learner: NetworkLearner, parts: Sequence[MicroBatch]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(outputs, taps) of the whole batch, as leaves of a new graph."""
    kept = _statistics(learner.network)
    with torch.no_grad():
        found = [learner.forward(part) for part in parts]
        for buffer, value in kept:
            buffer.copy_(value)
    sides = [
        [outputs_of_part.outputs for outputs_of_part in found],
        [outputs_of_part.taps for outputs_of_part in found],
    ]
    outputs, taps = (
        {name: torch.cat([each[name] for each in side]).requires_grad_() for name in side[0]} for side in sides
    )
    return outputs, taps


def _statistics(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    return [(buffer, buffer.clone()) for buffer in network.buffers()]


def _pulled(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Σ value · gradient: its gradient at the values is theirs."""
    return torch.stack([(value.float() * gradient.float()).sum() for value, gradient in pairs]).sum()
