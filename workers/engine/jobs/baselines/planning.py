"""The runs of a job's baselines: for each labelled task a network with the student's trunk and one head.

A baseline equals the model of a `train` job with the student's architecture and optimizer steps and the task's target.
As a run of the job it is resumed and cached like a control.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from app.contracts.layouts.frozen import frozen_of_single_task
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.jobs import TaskSpec
from workers.engine.jobs.runs.results import RunResult
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.tasks.build import BuiltTask
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.tasks.supervision import supervised_loss
from workers.engine.tasks.task import Task


def labelled_tasks(tasks: Sequence[BuiltTask], train: Tensor) -> list[Task]:
    """The tasks with a label on some training row, which are those with a baseline."""
    students = [each.student for each in tasks]
    return [task for task in students if task.target is not None and bool(task.target.labelled[train].any())]


def single_task_architecture(architecture: Architecture, output: str) -> Architecture:
    """The architecture with one head, and hard sharing."""
    assert architecture.outputs is not None
    size = architecture.outputs[output]
    return architecture.with_outputs({output: size}).model_copy(update={"sharing": "hard"})


def baseline_run(task: Task, main: Run, device: torch.device, offset: int) -> Run:
    """The run of the baseline of a task, with the seed, steps and evaluations of the student's run `main`.

    It trains on labels only, on the rows that have one; `offset` is the number of steps of the job's earlier runs.
    """
    assert task.target is not None
    of_job = next(each for each in main.run_spec.tasks if each.name == task.name)
    task_spec = TaskSpec(name=task.name, loss=of_job.loss, class_weights=of_job.class_weights)
    row_weights = next(term.row_weights for term in task.terms if isinstance(term, SupervisedLoss))
    smoothing = main.training.label_smoothing
    loss = supervised_loss(task_spec, task.target, task.spec, 1.0, smoothing, main.train, device, row_weights)
    labels_only = Task(task.name, task.spec, task.target, 1.0, (loss,))
    architecture = single_task_architecture(main.run_spec.architecture, task.name)
    run_spec = RunSpec(main.run_spec.spec, architecture, (task_spec,))
    name = f"{main.name}-baseline-{task.name}" if main.name else f"baseline-{task.name}"
    tasks = (BuiltTask(labels_only, labels_only, ()),)
    run = Run(
        name,
        run_spec,
        tasks,
        main.train,
        main.validation,
        student=False,
        control=True,
        baseline=True,
        offset=offset,
        sources=main.sources,
    )
    frozen = frozen_of_single_task(main.training.frozen, main.run_spec.architecture, task.name)
    return run.as_long_as(main).with_training(frozen=frozen)


def baseline_runs(main: Run, device: torch.device, offset: int) -> Iterator[tuple[str, Run]]:
    """(task, run), created one at a time, as each has a column on the device."""
    if not main.run_spec.baselines:
        return
    for i, task in enumerate(labelled_tasks(main.tasks, main.train)):
        yield task.name, baseline_run(task, main, device, offset + i * main.schedule().steps)


def train_baselines(runner: Runner, seeds: Sequence[Run], offset: int) -> list[dict[str, RunResult]]:
    """Train the baselines for each seed's run of the student; returns them by task. Raises Stopped and UserError."""
    by_seed = []
    for main in seeds:
        results = {task: runner.run(run) for task, run in baseline_runs(main, runner.device, offset)}
        offset += len(results) * main.schedule().steps
        by_seed.append(results)
    return by_seed
