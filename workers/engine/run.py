"""The engine's entry point: carries out an order and returns its outcome."""

from app.contracts.specs.jobs import InspectJob, PreflightJob
from app.contracts.wire.orders import InspectionOutcome, Order, PreflightOutcome, TrainingOutcome
from workers.engine.common.memory import is_out_of_memory
from workers.engine.common.stop import Stop
from workers.engine.jobs.inspection.inspect import inspect
from workers.engine.jobs.job import Job
from workers.engine.jobs.preflight.preflight import Preflight
from workers.engine.jobs.runs.out_of_memory import out_of_memory_error
from workers.engine.jobs.train import train
from workers.engine.training.interface import Emit


def execute(order: Order, emit: Emit, stop: Stop) -> TrainingOutcome | PreflightOutcome | InspectionOutcome:
    """Carry out an order on local files.

    `emit` is called with each event as it happens; `stop` is polled at every step. Raises UserError for what the user
    can correct, and Stopped on request: if training had begun, a checkpoint is in `order.checkpoints_dir`, and the same
    order with a higher attempt continues from it.
    """
    spec = order.spec
    if isinstance(spec, InspectJob):
        return inspect(order, emit)
    if isinstance(spec, PreflightJob):
        return Preflight(order, spec, emit, stop).run()
    job = Job(order, spec, emit, stop)
    try:
        return train(job)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory_error(error, job.phase) from error
