"""Memory that ran out: once in a job's life its micro-batches become half as large, where the gradient stays exact.

What a job came down to is written beside its checkpoints, so that every later attempt trains as this one does. A batch
in parts gives the gradient of the whole (METHODS.md, accumulation; terms that compare rows take two passes) unless
BatchNorm takes its statistics from each part: then, and when it is not enough, the user is told what is needed.
"""

import gc
from contextlib import suppress
from pathlib import Path

import torch

from app.contracts.layouts.summary import parameter_count
from app.contracts.problems import UserError
from app.contracts.specs.architectures import Architecture
from app.contracts.wire.events import WarningEvent
from workers.engine.common.files import read_document, write_document
from workers.engine.common.memory import SavedTensors, available_bytes
from workers.engine.data.columns import Rows
from workers.engine.data.inputs import Inputs
from workers.engine.jobs.runs.run import Run
from workers.engine.models import build
from workers.engine.training.interface import Emit

_SAMPLE = 2
_ADVICE = (
    "set a smaller `training.micro_batch_size` or `training.batch_size`, or choose a smaller student; a preflight of "
    "the job measures what it needs"
)


class OutOfMemoryPolicy:
    """What a job does about memory that ran out."""

    def __init__(self, checkpoints: Path, emit: Emit) -> None:
        self._place = checkpoints / "memory.json"
        self._emit = emit
        found = read_document(self._place) or {}
        self.micro_batch_size: int | None = found.get("micro_batch_size")
        """What the job came down to."""
        self.together: bool = found.get("together", True)
        """Whether candidates may still train as one step."""
        if self.micro_batch_size is not None:
            self._tell("an earlier attempt ran out of memory")

    def applied(self, run: Run) -> Run:
        """The run as this job can train it."""
        size, own = self.micro_batch_size, run.training.micro_batch_size or run.training.batch_size
        if size is None or own <= size:
            return run
        return run.with_training(micro_batch_size=size)

    def shrink(self, run: Run, inputs: Inputs, said: str) -> None:
        """Come down to micro-batches of half the size. Call it outside `except`, which holds the step's tensors. Raises
        UserError `out_of_memory` where that was done before, or would change the gradient.
        """
        gc.collect()
        if inputs.column.device.type == "cuda":
            torch.cuda.empty_cache()
        size = _micro_batch(run)
        if self.micro_batch_size is not None:
            raise _error(run, inputs, said, f"micro-batches of {size} rows, half the size, were not small enough")
        if size == 1:
            raise _error(run, inputs, said, "there is no smaller micro-batch than one row")
        if any(_has_batch_norm(architecture) for architecture in _architectures(run)):
            why = "BatchNorm takes its statistics from each micro-batch, so a batch is not divided unasked"
            raise _error(run, inputs, said, why)
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


def _micro_batch(run: Run) -> int:
    return min(run.training.micro_batch_size or run.training.batch_size, len(run.schedule().rows))


def _architectures(run: Run) -> list[Architecture]:
    return [run.run_spec.architecture, *run.run_spec.peers]


def _has_batch_norm(architecture: Architecture) -> bool:
    with torch.device("meta"):
        return build(architecture).has_batch_norm


def _error(run: Run, inputs: Inputs, said: str, why: str) -> UserError:
    learners = (len(_architectures(run)) if run.student else 0) + run.control
    rows = _micro_batch(run)
    # Weights, gradients, the best weights so far, and what the optimiser remembers.
    states = 3 + {"sgd": 1}.get(run.training.optimizer, 2)
    weights = 4 * states * learners * max(parameter_count(each) for each in _architectures(run))
    kept = learners * rows * _bytes_of_a_row(run, inputs)
    free = available_bytes(inputs.column.device)
    found = f"{free:,} are free" if free is not None else "how many are free is not known"
    return UserError(
        "out_of_memory",
        f"memory ran out ({_first_line(said)}), and {why}. Estimate: {weights:,} bytes for weights, gradients and "
        f"optimiser of {learners} network(s), and {kept:,} for the activations of {rows} rows; {found}: {_ADVICE}",
    )


def _bytes_of_a_row(run: Run, inputs: Inputs) -> int:
    """What a forward pass keeps for the backward pass, by a row; 0 where there is no memory even for that."""
    with suppress(MemoryError, RuntimeError):
        network = build(run.run_spec.architecture).to(inputs.column.device)
        saved = SavedTensors(network.parameters())
        with saved.hooks():
            network(inputs.take(Rows.on(inputs.column.device, run.schedule().rows[:_SAMPLE])))
        return saved.most // _SAMPLE
    return 0


def _first_line(said: str) -> str:
    return said.strip().partition("\n")[0][:200] or "no memory"
