"""The stages of a job's baselines: for each labelled task a network of the student's trunk with one head.

A baseline is what a `train` job with the student's architecture, the task's target and the student's optimiser steps
would train; here it is a stage, so that it is resumed and kept as controls are.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from app.contracts.specs.architectures import Architecture
from app.contracts.specs.jobs import TaskSpec
from workers.engine.jobs.runs.results import StageResult
from workers.engine.jobs.runs.runner import Stage, StageRunner
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.tasks.build import Course, Taught
from workers.engine.tasks.task import Task


def labelled_tasks(taught: Sequence[Taught], train: Tensor) -> list[Task]:
    """The tasks that some training row has a label for: those that have a baseline."""
    tasks = [each.student for each in taught]
    return [task for task in tasks if task.target is not None and bool(task.target.labelled[train].any())]


def single(architecture: Architecture, output: str) -> Architecture:
    """The same trunk with hard sharing and one head."""
    assert architecture.outputs is not None
    size = architecture.outputs[output]
    return architecture.model_copy(update={"outputs": {output: size}, "sharing": "hard"})


def baseline_stage(task: Task, main: Stage, device: torch.device, offset: int) -> Stage:
    """The baseline of one task beside the student's stage, from the same seed; it starts `offset` steps into the job.

    It learns from labels alone, goes through the rows that have one, and takes as many steps as the student.
    """
    assert task.target is not None
    training = main.training.model_copy(update={"steps": main.schooling().steps, "epochs": None})
    loss = SupervisedLoss.of(task.target, task.spec, 1.0, training.label_smoothing, device)
    alone = Task(task.name, task.spec, task.target, 1.0, (loss,))
    course = Course(
        main.course.spec.model_copy(update={"training": training}),
        single(main.course.architecture, task.name),
        (TaskSpec(name=task.name),),
    )
    name = f"{main.name}-baseline-{task.name}" if main.name else f"baseline-{task.name}"
    taught = (Taught(alone, alone, ()),)
    return Stage(
        name,
        course,
        taught,
        main.train,
        main.validation,
        student=False,
        control=True,
        baseline=True,
        offset=offset,
        sources=main.sources,
    )


def baseline_stages(main: Stage, device: torch.device, offset: int) -> Iterator[tuple[str, Stage]]:
    """(task, stage), one after the other, as each holds a column on the device."""
    if not main.course.baselines:
        return
    for i, task in enumerate(labelled_tasks(main.taught, main.train)):
        yield task.name, baseline_stage(task, main, device, offset + i * main.schooling().steps)


def train_baselines(runner: StageRunner, seeds: Sequence[Stage], offset: int) -> list[dict[str, StageResult]]:
    """For each seed's stage of the student the baselines by task. Raises Stopped and UserError."""
    found = []
    for main in seeds:
        results = {task: runner.run(stage) for task, stage in baseline_stages(main, runner.device, offset)}
        offset += len(results) * main.schooling().steps
        found.append(results)
    return found
