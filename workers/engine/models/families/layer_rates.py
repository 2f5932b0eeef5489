"""Learning rates by layer, as in fine-tuning ELECTRA (Clark et al. 2020, appendix B) and BEiT (Bao et al. 2022)."""

from collections.abc import Mapping

from torch import nn

from workers.engine.models.families.blocks import DataOrder, blocks_of
from workers.engine.models.network import Network


def layer_factors(network: Network, decay: float) -> Mapping[nn.Parameter, float]:
    """The factor on the learning rate of each parameter of a network whose tasks share one trunk.

    With the trunk's n blocks in the order in which data enter them, block i (from 0) has decay^(n - i): `decay` for the
    last, decay^n for the stem. Heads have 1. A parameter outside of blocks has the factor of the block before it, or
    of the first where it comes before all, such as positions and class tokens. Deviation from timm, whose last
    normalisation has 1: here it has the factor of the last block.
    """
    order = DataOrder(network)
    entered = ((order.entry(name), name) for name in blocks_of(network))
    blocks = [name for _, name in sorted((at, name) for at, name in entered if at is not None)]
    starts = [order.entry(name) or 0 for name in blocks]
    heads = {id(parameter) for output in network.output_sizes for parameter in network.head_parameters(output)}
    factors = {}
    for name, parameter in network.named_parameters():
        own = next((i for i, block in enumerate(blocks) if name.startswith(f"{block}.")), None)
        at = order.of_parameter(name)
        before = max(0, sum(start <= at for start in starts) - 1)
        depth = 0 if id(parameter) in heads else len(blocks) - (before if own is None else own)
        factors[parameter] = decay**depth
    return factors
