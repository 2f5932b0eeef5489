"""The tasks of an evaluation, and the parties (student, control, teachers) whose outputs are evaluated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from app.contracts.resources.manifests import InputTransform, OutputSpec
from workers.engine.common.eval_mode import evaluating
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.formats.files.encoded import RawRows, parts_of
from workers.engine.data.transform import apply
from workers.engine.models import Network

BLOCK = 1024
"""Rows of one forward pass. Results depend on the batch size in their last bits, so it is fixed."""

Outputs = Callable[[Tensor], Mapping[str, Tensor]]
"""Dataset rows (int64 [n]) -> raw outputs by task ([n, size], float32, CPU)."""


@dataclass(frozen=True)
class QuantizedOutputs:
    """The exported student's quantized files by party; for those with the rounding that it was trained with, the
    network with this rounding.
    """

    parties: Mapping[str, Outputs] = field(default_factory=dict)
    simulated: Mapping[str, Outputs] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskTeacher:
    """One teacher of a task: `outputs` maps dataset rows (int64 [n]) to its raw outputs [n, size] on the CPU.

    `output` is their name in the teacher's model, and `select` what they are of it; None: all of it.
    """

    key: str
    weight: float
    spec: OutputSpec
    outputs: Callable[[Tensor], Tensor]
    output: str = ""
    select: Callable[[Tensor], Tensor] | None = None

    def taught(self, raw: Tensor) -> Tensor:
        """What the teacher teaches with, of its model's output [n, all]."""
        return raw if self.select is None else self.select(raw)


@dataclass(frozen=True)
class EvaluatedTask:
    """A task in the evaluation. `spec`: meaning of student and control outputs; `target`: None without labels."""

    name: str
    spec: OutputSpec
    target: TargetColumn | None
    teachers: tuple[TaskTeacher, ...] = ()


def network_outputs(
    network: Network, raw: RawRows, transform: InputTransform, device: torch.device, block: int = BLOCK
) -> Outputs:
    """A network's outputs for rows of `raw` ([N, …], untransformed), in evaluation mode, `block` rows at a time."""

    def outputs(rows: Tensor) -> dict[str, Tensor]:
        with evaluating(network):
            taken = parts_of(raw, torch.split(rows, block))
            parts = [network(apply(part.to(device), transform)) for part in taken]
        return {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}

    return outputs


def remembered(outputs: Outputs, rows: Tensor, block: int = BLOCK) -> Outputs:
    """The same outputs, those for `rows` computed once: whole, or for each of its blocks."""
    known = {part.numpy().tobytes() for part in torch.split(rows, block)}
    found: dict[bytes, Mapping[str, Tensor]] = {}

    def of_block(part: Tensor) -> Mapping[str, Tensor]:
        key = part.numpy().tobytes()
        if key not in known:
            return outputs(part)
        if key not in found:
            found[key] = outputs(part)
        return found[key]

    def whole(asked: Tensor) -> Mapping[str, Tensor]:
        parts = [of_block(part) for part in torch.split(asked, block)]
        return parts[0] if len(parts) == 1 else {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    return whole
