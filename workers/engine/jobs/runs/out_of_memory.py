"""Memory that ran out: once in a job's life its micro-batches become half as large, where the gradient stays exact.

What a job came down to is written beside its checkpoints, so that every later attempt trains as this one does. A batch
in parts gives the gradient of the whole (METHODS.md, accumulation; terms that compare rows take two passes) unless
BatchNorm takes its statistics from each part: then, and when it is not enough, the user is told what is needed.
"""

import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from app.contracts.layouts.layouts import parameter_count
from app.contracts.problems import UserError
from app.contracts.specs.architectures import Architecture
from app.contracts.wire.events import ChildEvent, WarningEvent
from workers.engine.common.files import read_document, write_document
from workers.engine.data.columns import Rows
from workers.engine.data.inputs import Inputs
from workers.engine.jobs.preflight.memory import SavedTensors, available_bytes, is_out_of_memory
from workers.engine.models import build

if TYPE_CHECKING:
    from workers.engine.jobs.runs.runner import Stage

_SAMPLE = 2
_ADVICE = (
    "set a smaller `training.micro_batch_size` or `training.batch_size`, or choose a smaller student; a preflight of "
    "the job measures what it needs"
)


class Shortage:
    """What a job does about memory that ran out."""

    def __init__(self, checkpoints: Path, emit: Callable[[ChildEvent], None]) -> None:
        self._place = checkpoints / "memory.json"
        self._emit = emit
        found = read_document(self._place) or {}
        self.micro_batch_size: int | None = found.get("micro_batch_size")
        """What the job came down to."""
        self.together: bool = found.get("together", True)
        """Whether candidates may still train as one step."""
        if self.micro_batch_size is not None:
            self._tell("an earlier attempt ran out of memory")

    def applied(self, stage: "Stage") -> "Stage":
        """The stage as this job can train it."""
        size, own = self.micro_batch_size, stage.training.micro_batch_size or stage.training.batch_size
        if size is None or own <= size:
            return stage
        training = stage.training.model_copy(update={"micro_batch_size": size})
        course = replace(stage.course, spec=stage.course.spec.model_copy(update={"training": training}))
        return replace(stage, course=course)

    def shrink(self, stage: "Stage", inputs: Inputs, said: str) -> None:
        """Come down to micro-batches of half the size. Call it outside `except`, which holds the step's tensors. Raises
        UserError `out_of_memory` where that was done before, or would change the gradient.
        """
        gc.collect()
        if inputs.column.device.type == "cuda":
            torch.cuda.empty_cache()
        size = _micro_batch(stage)
        if self.micro_batch_size is not None:
            raise _error(stage, inputs, said, f"micro-batches of {size} rows, half the size, were not small enough")
        if size == 1:
            raise _error(stage, inputs, said, "there is no smaller micro-batch than one row")
        if any(_has_batch_norm(architecture) for architecture in _architectures(stage)):
            why = "BatchNorm takes its statistics from each micro-batch, so a batch is not divided unasked"
            raise _error(stage, inputs, said, why)
        self.micro_batch_size = -(-size // 2)
        self._write()
        self._tell(f"memory ran out at {size} rows")

    def separate(self) -> None:
        """Candidates that trained as one step train one after the other from now on."""
        gc.collect()
        self.together = False
        self._write()

    def _write(self) -> None:
        write_document(self._place, {"micro_batch_size": self.micro_batch_size, "together": self.together})

    def _tell(self, why: str) -> None:
        message = f"{why}: micro-batches have {self.micro_batch_size} rows; the gradient is that of the whole batch"
        self._emit(WarningEvent(code="smaller_micro_batches", message=message))


def ran_out(error: Exception, phase: str) -> UserError:
    """The error of memory that ran out where no batch is to blame."""
    return UserError("out_of_memory", f"memory ran out while {phase} ({_first_line(str(error))}): {_ADVICE}")


def _micro_batch(stage: "Stage") -> int:
    return min(stage.training.micro_batch_size or stage.training.batch_size, len(stage.schooling().rows))


def _architectures(stage: "Stage") -> list[Architecture]:
    return [stage.course.architecture, *stage.course.peers]


def _has_batch_norm(architecture: Architecture) -> bool:
    with torch.device("meta"):
        return build(architecture).has_batch_norm


def _error(stage: "Stage", inputs: Inputs, said: str, why: str) -> UserError:
    members = (len(_architectures(stage)) if stage.student else 0) + stage.control
    rows = _micro_batch(stage)
    # Weights, gradients, the best weights so far, and what the optimiser remembers.
    states = 3 + {"sgd": 1}.get(stage.training.optimizer, 2)
    weights = 4 * states * members * max(parameter_count(each) for each in _architectures(stage))
    kept = members * rows * _bytes_of_a_row(stage, inputs)
    free = available_bytes(inputs.column.device)
    found = f"{free:,} are free" if free is not None else "how many are free is not known"
    return UserError(
        "out_of_memory",
        f"memory ran out ({_first_line(said)}), and {why}. Estimate: {weights:,} bytes for weights, gradients and "
        f"optimiser of {members} network(s), and {kept:,} for the activations of {rows} rows; {found}: {_ADVICE}",
    )


def _bytes_of_a_row(stage: "Stage", inputs: Inputs) -> int:
    """What a forward pass keeps for the backward pass, by a row; 0 where there is no memory even for that."""
    with suppress(MemoryError, RuntimeError):
        network = build(stage.course.architecture).to(inputs.column.device)
        saved = SavedTensors(network.parameters())
        with saved.hooks():
            network(inputs.take(Rows.on(inputs.column.device, stage.schooling().rows[:_SAMPLE])))
        return saved.most // _SAMPLE
    return 0


def _first_line(said: str) -> str:
    return said.strip().partition("\n")[0][:200] or "no memory"


__all__ = ["Shortage", "is_out_of_memory", "ran_out"]
