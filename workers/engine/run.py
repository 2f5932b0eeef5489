"""The engine's entry point: carries out an order and returns its outcome."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import assert_never

from app.contracts.specs.jobs import DistillJob, ExportJob, InspectJob, MultitaskJob, PreflightJob, TrainJob
from app.contracts.wire.orders import CompletedOutcome, Order
from workers.engine.common.memory import is_out_of_memory
from workers.engine.common.memory_format import networks_in
from workers.engine.common.progress import progress_while_alive
from workers.engine.common.stop import Stop
from workers.engine.jobs.exports.ready_model import export_model
from workers.engine.jobs.inspection.inspect import inspect
from workers.engine.jobs.job import Job
from workers.engine.jobs.preflight.preflight import Preflight
from workers.engine.jobs.runs.out_of_memory import ADVICE, out_of_memory_error
from workers.engine.jobs.train import train
from workers.engine.training.interface import Emit

_OF_EXPORTS = (
    "export a smaller model, or name a dataset with fewer rows; where memory is free, the worker's "
    "STILLHOUSE_MEMORY_ROOM is what bounds an export"
)


def execute(order: Order, emit: Emit, stop: Stop) -> CompletedOutcome:
    """Carry out an order on local files.

    `emit` is called with each event as it happens; `stop` is polled at every step. Raises UserError for what the user
    can correct, and Stopped on request: if training had begun, a checkpoint is in `order.checkpoints_dir`, and the same
    order with a higher attempt continues from it.
    """
    match order.spec:
        case InspectJob():
            with progress_while_alive():
                return inspect(order, emit)
        case ExportJob():
            with progress_while_alive(), _out_of_memory_named(lambda: "exporting", _OF_EXPORTS):
                return export_model(order, emit)
        case PreflightJob():
            with networks_in(order.spec.job.training.memory_format), _out_of_memory_named(lambda: "checking the job"):
                return Preflight(order, order.spec, emit, stop).run()
        case TrainJob() | DistillJob() | MultitaskJob():
            job = Job(order, order.spec, emit, stop)
            with networks_in(order.spec.training.memory_format), _out_of_memory_named(lambda: job.phase):
                return train(job)
        case _:
            assert_never(order.spec)


@contextmanager
def _out_of_memory_named(phase: Callable[[], str], advice: str = ADVICE) -> Iterator[None]:
    """Out of memory becomes a UserError that names the phase and a way out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory_error(error, phase(), advice) from error
