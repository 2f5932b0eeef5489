"""Exact gradient accumulation over micro-batches in two passes, for terms that compare the rows of a batch and for
balancers whose weights depend on the losses of the whole batch.

The first pass computes the outputs of every micro-batch without a graph, then the losses of the whole batch and their
gradients g with respect to the outputs. The second pass repeats the forward pass of each micro-batch and propagates
those gradients through the network: Σ outputs · g has the gradient of the loss. Dropout masks are functions of (step,
micro-batch), so they are the same in both passes; BatchNorm's running statistics are updated in the second pass only.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from workers.engine.balancing.balancer import Losses, stacked
from workers.engine.common.eval_mode import preserved_buffers
from workers.engine.data.rows.columns import concatenate
from workers.engine.training.batch import Counts, MicroBatch, StepOutputs
from workers.engine.training.interface import NetworkLearner


def accumulate_relational(learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts) -> None:
    """Forward and backward of a batch in micro-batches `parts`: the gradient of the whole batch, at their memory."""
    batch = _batch_outputs(learner, parts)
    outputs, taps = batch.outputs, batch.taps
    losses, terms = learner.losses(batch, concatenate([part.rows for part in parts]), counts)
    batch_losses = stacked([loss.detach() for loss in losses.values]) if losses.terms else None
    leaves = [*outputs.values(), *taps.values()]
    module_parameters = [p for module in learner.modules.values() for p in module.parameters() if p.requires_grad]
    gradients = [
        torch.autograd.grad(loss, [*leaves, *module_parameters], retain_graph=True, allow_unused=True)
        for loss in losses.values
    ]
    sizes = [len(part.rows) for part in parts]
    by_part = [[None if g is None else torch.split(g, sizes) for g in each[: len(leaves)]] for each in gradients]
    for i, part in enumerate(parts):
        step_outputs = learner.forward(part)
        values = [step_outputs.outputs[name] for name in outputs] + [step_outputs.taps[name] for name in taps]
        surrogates = []
        for gradient, split in zip(gradients, by_part, strict=True):
            pairs = [(value, g[i]) for value, g in zip(values, split, strict=True) if g is not None]
            if i == 0:  # modules are not run again: their gradient is added once
                extra = zip(module_parameters, gradient[len(leaves) :], strict=True)
                pairs += [(p, g) for p, g in extra if g is not None]
            surrogates.append(_surrogate(pairs))
        recorded = terms if i == 0 else [replace(term, value=torch.zeros_like(term.value)) for term in terms]
        learner.accumulate(Losses.of(losses.present, surrogates, batch_losses), recorded)


def losses_of_batch(learner: NetworkLearner, parts: Sequence[MicroBatch], counts: Counts) -> Tensor:
    """The losses of the tasks that are present [K] over a batch in `parts`, detached; the learner does not change."""
    batch = _batch_outputs(learner, parts)
    with torch.no_grad():
        losses, _ = learner.losses(batch, concatenate([part.rows for part in parts]), counts)
    return stacked(losses.values)


def _batch_outputs(learner: NetworkLearner, parts: Sequence[MicroBatch]) -> StepOutputs:
    """Outputs and layers of the whole batch, as leaves of a new graph."""
    with preserved_buffers(learner.network), torch.no_grad():
        by_part = [learner.forward(part) for part in parts]
    outputs, taps = (
        {name: torch.cat([each[name] for each in kind]).requires_grad_() for name in kind[0]}
        for kind in ([part.outputs for part in by_part], [part.taps for part in by_part])
    )
    tokens = [part.tokens for part in by_part if part.tokens is not None]
    return StepOutputs(outputs, taps, torch.cat(tokens) if tokens else None)


def _surrogate(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Σ value · gradient, whose gradient with respect to each value is the given one."""
    return torch.stack([(value.float() * gradient.float()).sum() for value, gradient in pairs]).sum()
