"""A network that is to be trained: what a job of the engine would load and build for it."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from app.contracts.specs.jobs import MultitaskJob, TrainJob
from tests.benchmarks.accuracy.defaults.sets.data_set import Json
from tests.engine.harness import EngineHarness
from workers.engine.data.joining import read_datasets
from workers.engine.jobs.job import Job
from workers.engine.jobs.load import JobData, store_of
from workers.engine.jobs.runs.run import Run
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.models import Network, build, initialise
from workers.engine.tasks.build import build_tasks
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.tasks.task import Task
from workers.engine.teachers.teachers import Teachers
from workers.engine.training.batches import BatchSchedule


@dataclass(frozen=True)
class Loaded:
    """The rows of a job: transformed inputs [N, …] and its run, whose tasks have the labels."""

    x: Tensor
    run: Run
    test: Tensor
    """Row numbers of the test split."""


@dataclass(frozen=True)
class Member:
    """One network: its rows, and its seed of weights and order."""

    loaded: Loaded
    seed: int

    @property
    def run(self) -> Run:
        """The run with this seed."""
        return self.loaded.run.with_training(seed=self.seed)

    @cached_property
    def schedule(self) -> BatchSchedule:
        """Its batches."""
        return self.run.schedule()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Each with one term, that on labels."""
        return tuple(each.student for each in self.loaded.run.tasks)

    @property
    def terms(self) -> tuple[SupervisedLoss, ...]:
        """The term on labels of each task. Raises TypeError where a task has others."""
        found = []
        for task in self.tasks:
            (term,) = task.terms
            if not isinstance(term, SupervisedLoss):
                raise TypeError(f"`{term.name}` is no loss on labels: networks with teachers are trained by jobs")
            found.append(term)
        return tuple(found)

    def network(self) -> Network:
        """The network with the weights that the engine draws from the seed."""
        network = build(self.run.run_spec.architecture)
        initialise(network, self.seed)
        return network


def load(harness: EngineHarness, spec: Json) -> Loaded:
    """What a job with this spec on the harness's dataset loads and builds, without training it."""
    order = harness.order(spec, job="loaded")
    assert isinstance(order.spec, TrainJob | MultitaskJob)
    Path(order.checkpoints_dir).mkdir(parents=True, exist_ok=True)
    job = Job(order, order.spec, lambda event: None, _never)
    data = JobData.of(order.spec, read_datasets(order, order.spec.dataset_refs()), torch.device("cpu"))
    splits, run_spec = data.dataset.splits, RunSpec.of(order.spec)
    with Teachers(order, data.dataset, job.device, job.check_stop, store_of(order.spec), None) as teachers:
        tasks = build_tasks(run_spec, teachers, lambda event: None)
    run = Run("", run_spec, tasks, splits["train"], splits["validation"], sources=data.dataset.sources)
    return Loaded(data.inputs.column.values[:], run, splits["test"])


def with_spec(loaded: Loaded, harness: EngineHarness, spec: Json) -> Loaded:
    """The same rows and tasks with the settings of another spec for the harness's dataset, resolved."""
    order = harness.order(spec, job="loaded")
    assert isinstance(order.spec, TrainJob | MultitaskJob)
    return replace(loaded, run=replace(loaded.run, run_spec=RunSpec.of(order.spec)))


class _Never:
    def requested(self) -> None:
        return None


_never = _Never()
