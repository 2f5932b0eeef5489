"""Which tasks have teachers that are weaker than the controls, so that labels get more weight."""

from collections.abc import Container, Sequence

import torch

from app.contracts.resolving.recipe.weak_teacher import tasks_with_chosen_weights
from app.contracts.specs.jobs import AnyTrainingJob
from workers.engine.data.dataset import Dataset
from workers.engine.evaluation.warnings.weak_teacher import compare_teachers
from workers.engine.jobs.load import JobData
from workers.engine.jobs.runs.results import TrainedModel
from workers.engine.jobs.search import candidates
from workers.engine.tasks.build import BuiltTask
from workers.engine.tasks.run_spec import RunSpec


def tasks_to_compare(
    spec: AnyTrainingJob, chosen_pointers: Container[str], tasks: Sequence[BuiltTask], dataset: Dataset
) -> frozenset[str]:
    """The tasks whose weights wait for the controls: the recipe chose them, and there are labels to train controls and
    to compare with.

    None with a search, whose candidates are trained, and chosen, before the controls.
    """
    if not RunSpec.of(spec).control or candidates(spec):
        return frozenset()
    chosen = tasks_with_chosen_weights(spec, chosen_pointers)
    train, validation = dataset.splits["train"], dataset.splits.get("validation", torch.empty(0, dtype=torch.int64))
    return frozenset(
        task.name
        for task in (each.student for each in tasks)
        if task.name in chosen
        and task.target is not None
        and bool(task.target.labelled[train].any())
        and int(task.target.labelled[validation].sum()) > 1
    )


def weaker_teachers(
    names: frozenset[str], tasks: Sequence[BuiltTask], data: JobData, controls: Sequence[TrainedModel]
) -> dict[str, str]:
    """Of the tasks `names` those whose teachers are weaker than the controls, each with the reason in words."""
    rows = data.split("validation")
    outputs = [data.outputs_of(control.network)(rows) for control in controls]
    found = {}
    for task in (each.evaluated for each in tasks if each.student.name in names):
        comparison = compare_teachers(task, [each[task.name] for each in outputs], rows)
        if comparison is not None and comparison.is_weaker:
            found[task.name] = f"what teaches `{task.name}` is weaker than the control: {comparison.figures}"
    return found
