"""Handling of out-of-memory errors: once in a job the micro-batches are halved, if the gradient stays exact.

The reduced size is stored beside the checkpoints, so that later attempts use it too. Micro-batches give the gradient of
the whole batch (terms that compare rows take two passes), except with BatchNorm, whose
statistics are those of each micro-batch. Then, or if half the size is not enough, the job fails with an estimate.
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
from workers.engine.data.rows.columns import Rows
from workers.engine.data.rows.inputs import Inputs
from workers.engine.jobs.runs.run import Run
from workers.engine.models import build
from workers.engine.training.interface import Emit

_SAMPLE = 2
ADVICE = (
    "set a smaller `training.micro_batch_size` or `training.batch_size`, or choose a smaller student; a preflight of "
    "the job measures what it needs; where memory is free, the worker's STILLHOUSE_MEMORY_ROOM is what bounds a job"
)


class OutOfMemoryPolicy:
    """The reaction of a job to out-of-memory errors."""

    def __init__(self, checkpoints: Path, emit: Emit) -> None:
        self._path = checkpoints / "memory.json"
        self._emit = emit
        document = read_document(self._path) or {}
        self.micro_batch_size: int | None = document.get("micro_batch_size")
        """The reduced size; None if memory has not run out."""
        self.vectorised: bool = document.get("together", True)
        """Whether candidates of a search may train as one vectorised step."""
        if self.micro_batch_size is not None:
            self._warn("an earlier attempt ran out of memory")

    def applied(self, run: Run) -> Run:
        """The run with the reduced micro-batch size, if there is one."""
        size, requested = self.micro_batch_size, run.training.micro_batch_size or run.training.batch_size
        if size is None or requested <= size:
            return run
        return run.with_training(micro_batch_size=size)

    def halve_micro_batches(self, run: Run, inputs: Inputs, message: str) -> None:
        """Halve the micro-batch size; `message` is that of the error.

        Call it outside `except`, whose traceback keeps the step's tensors alive. Raises UserError `out_of_memory` if it
        was halved before, or if that would change the gradient.
        """
        gc.collect()
        if inputs.column.device.type == "cuda":
            torch.cuda.empty_cache()
        size = _micro_batch(run)
        if self.micro_batch_size is not None:
            raise _error(run, inputs, message, f"micro-batches of {size} rows, half the size, were not small enough")
        if size == 1:
            raise _error(run, inputs, message, "there is no smaller micro-batch than one row")
        if any(_has_batch_norm(architecture) for architecture in _architectures(run)):
            reason = "BatchNorm takes its statistics from each micro-batch, so batches are not divided automatically"
            raise _error(run, inputs, message, reason)
        self.micro_batch_size = -(-size // 2)
        self._write()
        self._warn(f"memory ran out at {size} rows")

    def disable_vectorised(self) -> None:
        """Train candidates of a search one after another from now on."""
        gc.collect()
        self.vectorised = False
        self._write()

    def _write(self) -> None:
        write_document(self._path, {"micro_batch_size": self.micro_batch_size, "together": self.vectorised})

    def _warn(self, reason: str) -> None:
        message = f"{reason}: micro-batches have {self.micro_batch_size} rows; the gradient is that of the whole batch"
        self._emit(WarningEvent(code="smaller_micro_batches", message=message))


def out_of_memory_error(error: Exception, phase: str, advice: str = ADVICE) -> UserError:
    """The UserError for memory that ran out outside of training steps."""
    return UserError("out_of_memory", f"memory ran out while {phase} ({_first_line(str(error))}): {advice}")


def _micro_batch(run: Run) -> int:
    return min(run.training.micro_batch_size or run.training.batch_size, len(run.schedule().rows))


def _architectures(run: Run) -> list[Architecture]:
    return [run.run_spec.architecture, *run.run_spec.peers]


def _has_batch_norm(architecture: Architecture) -> bool:
    with torch.device("meta"):
        return build(architecture).has_batch_norm


def _error(run: Run, inputs: Inputs, message: str, reason: str) -> UserError:
    learners = (len(_architectures(run)) if run.student else 0) + run.control
    rows = _micro_batch(run)
    # Weights, gradients, best weights so far, and optimizer state.
    copies = 3 + {"sgd": 1}.get(run.training.optimizer, 2)
    weights = 4 * copies * learners * max(parameter_count(each) for each in _architectures(run))
    activations = learners * rows * _activation_bytes(run, inputs)
    free = available_bytes(inputs.column.device)
    available = f"{free:,} are free" if free is not None else "free memory is unknown"
    return UserError(
        "out_of_memory",
        f"memory ran out ({_first_line(message)}), and {reason}. Estimate: {weights:,} bytes for weights, gradients "
        f"and optimizer of {learners} network(s), and {activations:,} for the activations of {rows} rows; {available}: "
        f"{ADVICE}",
    )


def _activation_bytes(run: Run, inputs: Inputs) -> int:
    """Bytes that a forward pass saves for the backward pass, for one row; 0 if memory is too low to measure it."""
    with suppress(MemoryError, RuntimeError):
        network = build(run.run_spec.architecture).to(inputs.column.device)
        saved = SavedTensors(network.parameters())
        with saved.hooks():
            network(inputs.take(Rows.on(inputs.column.device, run.schedule().rows[:_SAMPLE])))
        return saved.peak // _SAMPLE
    return 0


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0][:200] or "no memory"
