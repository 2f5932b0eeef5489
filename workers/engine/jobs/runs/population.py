"""A population: the students (or the controls) of runs that differ in their seed only, as one vectorised step."""

from collections.abc import Sequence
from math import isfinite

import torch

from app.contracts.specs.balancing import FixedBalancing
from workers.engine.data.rows.columns import Rows
from workers.engine.data.rows.inputs import Inputs
from workers.engine.evaluation.warnings.history import History
from workers.engine.jobs.runs.learners import initial_network
from workers.engine.jobs.runs.results import RunResult, TrainedModel, measured_rows
from workers.engine.jobs.runs.run import Run
from workers.engine.models import build
from workers.engine.tasks.task import Task
from workers.engine.training.vectorised.batches import MemberBatches
from workers.engine.training.vectorised.conditions import can_train_seeds_together, is_faster
from workers.engine.training.vectorised.seeds import Seeds


def make_population(runs: Sequence[Run], device: torch.device) -> tuple[Seeds, MemberBatches] | None:
    """The learners of runs, each of a student or each of a control alone, and their batches; None where they cannot
    train as one step, or where that is not faster.
    """
    task = _common_task(runs)
    if task is None or not is_faster(runs[0].run_spec.architecture, runs[0].training.batch_size):
        return None
    networks = [initial_network(run) for run in runs]
    schedule = MemberBatches.of([run.schedule() for run in runs])
    if schedule is None or not can_train_seeds_together(task, networks[0], [run.training for run in runs]):
        return None
    role = _role(runs[0])
    prefixes = [run.prefix + ("" if run.student else f"{role}/") for run in runs]
    return Seeds(role, task, networks, runs[0].training, schedule.steps, device, prefixes), schedule


def _role(run: Run) -> str:
    return "student" if run.student else "control"


def _common_task(runs: Sequence[Run]) -> Task | None:
    """The task that all runs train; None if there are several, or if the runs differ in more than their seed."""
    first = runs[0]
    spec = first.run_spec
    same = all(
        run.run_spec.with_training(seed=first.training.seed) == spec and run.student == first.student for run in runs
    )
    plain = not spec.peers and not spec.frozen_heads and spec.relation is None and spec.probe is None
    if not (same and plain and len(first.tasks) == 1 and isinstance(spec.balancing, FixedBalancing)):
        return None
    return first.tasks[0].student if first.student else first.tasks[0].control


def trained_models(
    learners: Seeds, runs: Sequence[Run], schedule: MemberBatches, inputs: Inputs
) -> dict[str, TrainedModel]:
    """The selected models of a population that has finished, by their place in it."""
    models, device = {}, inputs.column.device
    rows = Rows.on(device, measured_rows(schedule))
    train = learners.losses_on_labels(inputs, rows) if len(schedule.validation) else [{}] * len(runs)
    for k, (run, best) in enumerate(zip(runs, learners.best, strict=True)):
        network = build(run.run_spec.architecture)
        weights, epoch = learners.selected(k, schedule.epochs)
        network.load_state_dict(weights)
        loss = best.loss if best.score is not None and isfinite(best.loss) else None
        history = History(tuple(learners.evaluations[k]), train[k])
        models[str(k)] = TrainedModel(network.to(device), epoch, schedule.steps, best.score, loss, history=history)
    return models


def by_run(population: RunResult, runs: Sequence[Run]) -> list[RunResult]:
    """The result of each run of a population."""
    return [
        RunResult(
            {_role(run): population.models[str(k)]},
            population.bit_exact,
            population.seconds / len(runs),
            environment=population.environment,
        )
        for k, run in enumerate(runs)
    ]
