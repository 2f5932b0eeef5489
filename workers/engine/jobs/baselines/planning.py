"""The runs of a job's baselines: for each labelled task a network of the student's trunk with one head.

A baseline is what a `train` job with the student's architecture, the task's target and the student's optimiser steps
would train; here it is a run, so that it is resumed and kept as controls are.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from app.contracts.specs.architectures import Architecture
from app.contracts.specs.jobs import TaskSpec
from workers.engine.jobs.runs.results import RunResult
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.tasks.build import BuiltTask
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.tasks.task import Task


def labelled_tasks(tasks: Sequence[BuiltTask], train: Tensor) -> list[Task]:
    """The tasks that some training row has a label for: those that have a baseline."""
    students = [each.student for each in tasks]
    return [task for task in students if task.target is not None and bool(task.target.labelled[train].any())]


def single(architecture: Architecture, output: str) -> Architecture:
    """The same trunk with hard sharing and one head."""
    assert architecture.outputs is not None
    size = architecture.outputs[output]
    return architecture.model_copy(update={"outputs": {output: size}, "sharing": "hard"})


def baseline_run(task: Task, main: Run, device: torch.device, offset: int) -> Run:
    """The baseline of one task beside the student's run, from the same seed; it starts `offset` steps into the job.

    It learns from labels alone, goes through the rows that have one, and takes as many steps as the student.
    """
    assert task.target is not None
    loss = SupervisedLoss.of(task.target, task.spec, 1.0, main.training.label_smoothing, device)
    alone = Task(task.name, task.spec, task.target, 1.0, (loss,))
    architecture = single(main.run_spec.architecture, task.name)
    run_spec = RunSpec(main.run_spec.spec, architecture, (TaskSpec(name=task.name),))
    run_spec = run_spec.with_training(steps=main.schedule().steps, epochs=None)
    name = f"{main.name}-baseline-{task.name}" if main.name else f"baseline-{task.name}"
    tasks = (BuiltTask(alone, alone, ()),)
    return Run(
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


def baseline_runs(main: Run, device: torch.device, offset: int) -> Iterator[tuple[str, Run]]:
    """(task, run), one after the other, as each holds a column on the device."""
    if not main.run_spec.baselines:
        return
    for i, task in enumerate(labelled_tasks(main.tasks, main.train)):
        yield task.name, baseline_run(task, main, device, offset + i * main.schedule().steps)


def train_baselines(runner: Runner, seeds: Sequence[Run], offset: int) -> list[dict[str, RunResult]]:
    """For each seed's run of the student the baselines by task. Raises Stopped and UserError."""
    found = []
    for main in seeds:
        results = {task: runner.run(run) for task, run in baseline_runs(main, runner.device, offset)}
        offset += len(results) * main.schedule().steps
        found.append(results)
    return found
