"""Comparison of the students with the trained baselines, for the report."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from app.contracts.layouts.summary import parameter_count
from app.contracts.reports.baselines import BaselineReport
from workers.engine.evaluation.evaluate import Evaluation
from workers.engine.evaluation.parties import EvaluatedTask, Outputs
from workers.engine.evaluation.verdict.baselines import against_baselines, baseline_report
from workers.engine.jobs.runs.results import TrainedModel
from workers.engine.jobs.trained import Trained


def outputs_of_baselines(trained: Trained) -> list[Outputs]:
    """The outputs of the baselines of each seed, by task; empty without baselines."""
    return [_outputs_of_seed(trained, models) for models in trained.baselines if models]


def _outputs_of_seed(trained: Trained, models: Mapping[str, TrainedModel]) -> Outputs:
    by_task = {task: trained.outputs_of(model) for task, model in models.items()}

    def outputs(rows: Tensor) -> dict[str, Tensor]:
        return {task: task_outputs(rows)[task] for task, task_outputs in by_task.items()}

    return outputs


def compare(trained: Trained, tasks: Sequence[EvaluatedTask], evaluation: Evaluation) -> BaselineReport | None:
    """Compare the students of all seeds with the baselines of all seeds on the test rows; None without baselines."""
    if not trained.run_spec.baselines:
        return None
    rows = trained.data.split("test")
    students = [_outputs(trained, each, rows) for each in trained.students]
    results = {}
    for task in tasks:
        models = [by_task[task.name] for by_task in trained.baselines if task.name in by_task]
        baselines = [_outputs(trained, each, rows)[task.name] for each in models] if len(rows) else []
        comparison = against_baselines(task, [each[task.name] for each in students if each], baselines, rows)
        facts: dict[str, object] = {"quality": evaluation.baselines.get(task.name, {})}
        if models:
            first = models[0]
            facts |= {"parameters": parameter_count(first.network.architecture), "cached": first.cached}
            facts |= {"epoch": first.epoch, "steps": first.steps}
        results[task.name] = comparison.model_copy(update=facts)
    return baseline_report(results)


def _outputs(trained: Trained, model: TrainedModel, rows: Tensor) -> Mapping[str, Tensor]:
    return trained.outputs_of(model)(rows) if len(rows) else {}
