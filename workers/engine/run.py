"""The engine's front door: an order in, an outcome out."""

from app.contracts.specs.jobs import InspectJob, PreflightJob
from app.contracts.wire.events import ChildEvent, PhaseEvent
from app.contracts.wire.orders import InspectionOutcome, Order, PreflightOutcome, TrainingOutcome
from workers.engine.common.stop import Stop
from workers.engine.jobs.finish import Finish
from workers.engine.jobs.inspection.inspect import inspect
from workers.engine.jobs.preflight.preflight import Preflight
from workers.engine.jobs.runs.out_of_memory import is_out_of_memory, ran_out
from workers.engine.jobs.train import Emit, Training
from workers.engine.tasks.build import Spec


def execute(order: Order, emit: Emit, stop: Stop) -> TrainingOutcome | PreflightOutcome | InspectionOutcome:
    """Carry out an order on local files.

    `emit` takes each event as it happens; `stop` is polled at every step. Raises UserError where the user must mend
    something, and Stopped where `stop` asked for it: a checkpoint then lies in `order.checkpoints_dir` if training
    had begun, and the same order with a higher attempt goes on from there.
    """
    spec = order.spec
    if isinstance(spec, InspectJob):
        return inspect(order, emit)
    if isinstance(spec, PreflightJob):
        return Preflight(order, spec, emit, stop).run()
    phases = _Phases(emit)
    try:
        return _train(order, spec, phases.emit, stop)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ran_out(error, phases.last) from error


def _train(order: Order, spec: Spec, emit: Emit, stop: Stop) -> TrainingOutcome:
    trained = Training(order, spec, emit, stop).run()
    try:
        return Finish(trained, emit, stop).run()
    finally:
        trained.faculty.close()


class _Phases:
    """Knows the phase that a job is in."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.last = "starting"

    def emit(self, event: ChildEvent) -> None:
        if isinstance(event, PhaseEvent):
            self.last = event.phase
        self._emit(event)
