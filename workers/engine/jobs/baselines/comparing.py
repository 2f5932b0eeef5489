"""From trained baselines to the report's comparison."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from app.contracts.layouts.summary import parameter_count
from app.contracts.reports.baselines import BaselineReport
from workers.engine.evaluation.evaluate import Evaluation
from workers.engine.evaluation.parties import EvaluatedTask, Outputs
from workers.engine.evaluation.verdict.baselines import against_baselines, baseline_report
from workers.engine.jobs.runs.results import TrainedModel
from workers.engine.jobs.trained import Trained


def outputs_of_baselines(trained: Trained) -> Outputs | None:
    """The outputs of the baselines of the job's own seed, each on its task; None where there are none."""
    if not trained.baselines or not trained.baselines[0]:
        return None
    answering = {task: trained.outputs_of(model) for task, model in trained.baselines[0].items()}

    def outputs(rows: Tensor) -> dict[str, Tensor]:
        return {task: answer(rows)[task] for task, answer in answering.items()}

    return outputs


def compare(trained: Trained, tasks: Sequence[EvaluatedTask], evaluation: Evaluation) -> BaselineReport | None:
    """Students of all seeds against baselines of all seeds, on the test rows; None where none were asked for."""
    if not trained.run_spec.baselines:
        return None
    rows = trained.data.split("test")
    students = [_on(trained, each, rows) for each in (trained.student, *(student for student, _ in trained.repeats))]
    found = {}
    for task in tasks:
        models = [by_task[task.name] for by_task in trained.baselines if task.name in by_task]
        baselines = [_on(trained, each, rows)[task.name] for each in models] if len(rows) else []
        against = against_baselines(task, [said[task.name] for said in students if said], baselines, rows)
        facts: dict[str, object] = {"quality": evaluation.baselines.get(task.name, {})}
        if models:
            own = models[0]
            facts |= {"parameters": parameter_count(own.network.architecture), "cached": own.cached}
            facts |= {"epoch": own.epoch, "steps": own.steps}
        found[task.name] = against.model_copy(update=facts)
    return baseline_report(found)


def _on(trained: Trained, model: TrainedModel, rows: Tensor) -> Mapping[str, Tensor]:
    return trained.outputs_of(model)(rows) if len(rows) else {}
