"""A quantized file beside the student in float32, on the test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from app.contracts.reports.quantized import QuantizedVerdict
from app.contracts.reports.report import Fidelity
from workers.engine.evaluation.metrics.fidelity import task_fidelity
from workers.engine.evaluation.metrics.labels import reason_unmeasured
from workers.engine.evaluation.metrics.outputs import PartyOutputs
from workers.engine.evaluation.metrics.task_metrics import Metrics, task_metrics
from workers.engine.evaluation.parties import EvaluatedTask
from workers.engine.evaluation.verdict.quantized import verdict_of_quantized

ByTask = Mapping[str, Tensor]


@dataclass(frozen=True)
class QuantizedEvaluation:
    """A quantized file of the student on the test split, by task: `fidelity` to the student in float32, `simulated` to
    the network with the rounding that it was trained with.
    """

    tasks: dict[str, Metrics] = field(default_factory=dict)
    fidelity: dict[str, Fidelity] = field(default_factory=dict)
    simulated: dict[str, Fidelity] = field(default_factory=dict)
    verdict: dict[str, QuantizedVerdict] = field(default_factory=dict)


def evaluate_quantized(
    tasks: Sequence[EvaluatedTask], rows: Tensor, quantized: ByTask, student: ByTask, simulated: ByTask | None = None
) -> QuantizedEvaluation:
    """Compare outputs [n, size] by task for the dataset rows `rows` (int64 [n])."""
    found = QuantizedEvaluation()
    for task in tasks:
        name, ours = task.name, PartyOutputs(quantized[task.name], task.spec)
        found.fidelity[name] = task_fidelity(PartyOutputs(student[name], task.spec), ours, task.target, rows)
        if simulated is not None:
            found.simulated[name] = task_fidelity(PartyOutputs(simulated[name], task.spec), ours, task.target, rows)
        found.verdict[name] = verdict_of_quantized(ours.values, student[name], task.spec, task.target, rows)
        if task.target is not None and reason_unmeasured(name, "test", task.target, rows) is None:
            found.tasks[name] = task_metrics(ours.values, task.spec, task.target, rows)
    return found
