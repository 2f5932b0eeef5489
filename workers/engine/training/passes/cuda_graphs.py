"""CUDA graphs of a network's passes in training: the host launches one graph for each instead of every kernel.

A graph replays the kernels that it recorded, at the same addresses: rows of one shape, one backward pass for each
forward pass, and no decision or random number of the host in between. What does not fit runs without one. A graph
changes no bit, which is checked on the first batch: where outputs, gradients or running statistics differ from those
of the network itself, or a graph cannot be recorded, it is not used.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from app.contracts.specs.training import TrainingSettings
from workers.engine.common.eval_mode import preserved_buffers
from workers.engine.models import Network
from workers.engine.models.families.family import FamilyNetwork
from workers.engine.training.passes.precision import Precision

_log = logging.getLogger("stillhouse.worker")


def has_plain_passes(network: Network, training: TrainingSettings) -> bool:
    """Whether the passes of a network have the same operations in every step, one forward and one backward, and draw no
    random numbers, as far as network and settings say it.
    """
    return (
        isinstance(network, FamilyNetwork)
        and not network.draws_noise
        and training.micro_batch_size is None
        and training.quantization is None
        and not training.gradient_checkpointing
    )


class GraphedForward:
    """The forward pass of a network in training; its backward pass is a graph as well. The graph is recorded with the
    first rows, and used for rows of their shape.
    """

    def __init__(self, network: Network, precision: Precision) -> None:
        self._network = network
        self._precision = precision
        self._graph: Any = None
        self._shape: tuple[object, ...] | None = None

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Rows [n, …] on the device -> {output: [n, size]}, which the next call overwrites."""
        if self._shape is None:
            self._shape = (x.shape, x.dtype, x.stride())
            self._record(x)
        if self._graph is None or self._shape != (x.shape, x.dtype, x.stride()):
            return self._plain(x)
        outputs: dict[str, Tensor] = dict(zip(self._network.output_sizes, self._graph(x), strict=True))
        return outputs

    def _plain(self, x: Tensor) -> dict[str, Tensor]:
        with self._precision.forward():
            outputs: dict[str, Tensor] = self._network(x)
        return outputs

    def _record(self, x: Tensor) -> None:
        try:
            with preserved_buffers(self._network):
                sample = (x.clone(),)
                graph: Any = torch.cuda.make_graphed_callables(_Outputs(self), sample, allow_unused_input=True)
            expected = _results(self._network, _Outputs(self), x)
            if all(map(torch.equal, expected, _results(self._network, graph, x))):
                self._graph = graph
                return
            reason = "its results differ"
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
        finally:
            self._network.zero_grad(set_to_none=True)
        _log.warning("a %s trains without a CUDA graph: %s", type(self._network).__name__, reason)


class _Outputs(nn.Module):
    """The outputs of a network as a tuple, in the order of their names."""

    def __init__(self, forward: GraphedForward) -> None:
        super().__init__()
        self.network = forward._network
        self.__dict__["_forward"] = forward  # no module of its own

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Rows [n, …] -> the outputs [n, size]."""
        outputs = self.__dict__["_forward"]._plain(x)
        return tuple(outputs[name] for name in self.network.output_sizes)


def _results(network: Network, forward: Callable[[Tensor], Sequence[Tensor]], x: Tensor) -> list[Tensor]:
    """Outputs, gradients and buffers after one forward and backward pass, which leaves the buffers as they were."""
    network.zero_grad(set_to_none=True)
    with preserved_buffers(network):
        outputs = forward(x)
        torch.autograd.backward(outputs, [each.detach().clone() for each in outputs])
        gradients = [each.grad for each in network.parameters() if each.grad is not None]
        return [each.detach().clone() for each in (*outputs, *gradients, *network.buffers())]
