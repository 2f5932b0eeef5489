"""FLOPs of the forward pass of one row, and numbers of parameters."""

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from workers.engine.common.eval_mode import evaluating


def count_flops(network: nn.Module, row: Tensor) -> int:
    """FLOPs of one row by torch's FlopCounterMode: 2 for each multiply-add of convolutions and matrix products, other
    operations are not counted.

    `row` has shape [1, *input_shape], after the input transform, on the network's device.
    """
    if len(row) != 1:
        raise ValueError(f"expected a batch of one row, found {len(row)}")
    counter = FlopCounterMode(display=False)
    with evaluating(network), counter:
        network(row)
    return int(counter.get_total_flops())


def parameter_count(network: nn.Module) -> int:
    """Number of trainable and frozen parameters (buffers are not parameters)."""
    return sum(parameter.numel() for parameter in network.parameters())
