"""Deep mutual learning (Zhang et al. 2018): students that train together, each a soft target of the others."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.engine.data.rows.columns import Rows
from workers.engine.losses.logits.kd import class_kd
from workers.engine.losses.softmax import softened, widened
from workers.engine.losses.term import TermInputs


@dataclass(frozen=True)
class PeerTargets:
    """Mean over peers of τ² · KL(peer ‖ student), on every row. No gradient reaches the peers: each student has the
    update of its own loss, in whatever order they are computed.
    """

    weight: float
    counted: Tensor
    temperature: float
    name: str = "mutual"
    relational: bool = False
    taps: tuple[str, ...] = ()
    module: nn.Module | None = None

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """One loss a row [n]; 0 where there is no peer."""
        if not inputs.peers:
            return inputs.outputs.new_zeros(len(inputs.outputs), dtype=torch.float32)
        tau = self.temperature
        each = [class_kd(inputs.outputs, softened(widened(peer.detach()), tau), tau) for peer in inputs.peers]
        return torch.stack(each).mean(0)
