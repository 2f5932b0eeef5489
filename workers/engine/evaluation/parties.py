"""Who is measured, and how each of them answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.resources.manifests import InputTransform, OutputSpec
from workers.engine.common.eval_mode import evaluating
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.transform import apply
from workers.engine.models import Network

BLOCK = 1024
"""Rows in one forward pass: fixed, as other sizes give other bits."""

Outputs = Callable[[Tensor], Mapping[str, Tensor]]
"""Dataset rows (int64 [n]) -> raw outputs by task ([n, size], float32, CPU)."""


@dataclass(frozen=True)
class TaskTeacher:
    """One teacher of one task: `outputs` gives its raw outputs [n, size] for dataset rows (int64 [n]), on the CPU.

    `output` is what the teacher calls them.
    """

    key: str
    weight: float
    spec: OutputSpec
    outputs: Callable[[Tensor], Tensor]
    output: str = ""


@dataclass(frozen=True)
class EvaluatedTask:
    """A task as it is measured; `spec` says what student and control put out, `target` is None without labels."""

    name: str
    spec: OutputSpec
    target: TargetColumn | None
    teachers: tuple[TaskTeacher, ...] = ()


def network_outputs(
    network: Network, raw: Tensor, transform: InputTransform, device: torch.device, block: int = BLOCK
) -> Outputs:
    """How a network of ours answers: evaluation mode, float32, blocks of `block` rows of `raw` ([N, …], as read)."""

    def outputs(rows: Tensor) -> dict[str, Tensor]:
        with evaluating(network):
            parts = [network(apply(raw[part].to(device), transform)) for part in torch.split(rows, block)]
        return {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}

    return outputs
