"""The runs of a job in order: estimate of R, candidates of a search and their controls, student, further seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import torch
from torch import Tensor

from app.contracts.resolving.distillation.searches import folds_of
from app.contracts.specs.jobs import AnyTrainingJob, MultitaskJob
from workers.engine.balancing.relation.matrix import Matrix
from workers.engine.data.dataset import Dataset
from workers.engine.jobs.baselines.planning import labelled_tasks
from workers.engine.jobs.runs.affordable import most_networks
from workers.engine.jobs.runs.results import RunResult
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.search import Candidate, folds, searches_learning_rate
from workers.engine.tasks.build import BuiltTask
from workers.engine.tasks.relation import with_estimate
from workers.engine.tasks.run_spec import RunSpec


@dataclass
class Plan:
    """The runs of a job; `offset` is the number of optimizer steps of the runs before the next one."""

    run_spec: RunSpec
    tasks: tuple[BuiltTask, ...]
    dataset: Dataset
    trials: list[Candidate]
    spec: AnyTrainingJob
    build: Callable[[RunSpec], tuple[BuiltTask, ...]]
    start: dict[str, Tensor]
    offset: int = 0
    pretrained: Mapping[str, Tensor] = field(default_factory=dict)
    controls_first: bool = False
    """Whether the weights of the students wait for the controls, which then have runs of their own."""
    beside_controls: bool = False
    """Whether, where weights wait, the students train beside the controls all the same, at the usual weights, and
    again where the controls say otherwise.
    """

    @property
    def splits(self) -> tuple[Tensor, Tensor]:
        """(training rows, validation rows)."""
        splits = self.dataset.splits
        return splits["train"], splits.get("validation", torch.empty(0, dtype=torch.int64))

    @property
    def steps(self) -> int:
        """Optimizer steps of all runs, with epochs of the training split."""
        run, probe_run = self.main(self.run_spec, self.tasks), self.probe()
        trials = len(self.trials) * (folds_of(self.spec) or 1)
        probe = probe_run.schedule().steps if probe_run is not None else 0
        baselines = len(labelled_tasks(self.tasks, run.train)) if self.run_spec.baselines else 0
        runs = trials + self.control_runs + self._runs_of_seeds(run) + self.run_spec.repeats * baselines
        return probe + run.schedule().steps * runs

    def _runs_of_seeds(self, run: Run) -> int:
        """The most runs of the loop that all seeds take; with `repeats: "auto"` one for each network."""
        if self.run_spec.most_repeats == self.run_spec.repeats:
            return self.run_spec.repeats * self._runs_of_seed(run)
        most = most_networks(run)
        return most.students + most.controls

    def _runs_of_seed(self, run: Run) -> int:
        """The number of runs of the loop that student and control of a seed take."""
        return 2 if self.controls_first and not self.beside_controls else len(run.parts)

    @property
    def searches_rate(self) -> bool:
        """Whether the learning rate is searched; controls are then searched over the same values."""
        return searches_learning_rate(self.spec)

    @property
    def control_runs(self) -> int:
        """The number of runs of controls in a search: as many controls as candidates, but one where they differ in
        their seeds alone and there are no validation rows to compare them by.
        """
        if not self.trials or not self.run_spec.control:
            return 0
        if self.folds_of_controls():
            return len(self.trials) * len(self.validation_folds()) + 1
        return len(self.trials) if len(self.splits[1]) else 1

    def probe(self) -> Run | None:
        """The first run, which estimates R if the student or its teachers depend on R; else None."""
        if self.run_spec.probe is None:
            return None
        run = self.main(self.run_spec, self.tasks)
        steps = max(1, ceil(self.run_spec.probe.probe * run.schedule().steps))
        run_spec = self.run_spec.with_training(steps=steps, epochs=None, early_stopping=None)
        return self._run("relation", run_spec, self.tasks, self.splits)

    def after_probe(self, result: RunResult) -> "Plan":
        """The plan of the remaining runs, with the relation that the first run estimated."""
        assert result.measured is not None
        return self.with_relation(tuple(tuple(row) for row in result.measured["estimate"]))

    def with_relation(self, matrix: Matrix) -> "Plan":
        """The plan of the runs after a first run that has estimated `matrix`."""
        probe_run = self.probe()
        assert probe_run is not None
        spec = _with_relation(self.spec, matrix)
        trials = [replace(trial, spec=_with_relation(trial.spec, matrix)) for trial in self.trials]
        run_spec = RunSpec.of(trials[0].spec if trials else spec)
        return replace(
            self,
            run_spec=run_spec,
            tasks=self.build(run_spec),
            trials=trials,
            spec=spec,
            offset=probe_run.schedule().steps,
        )

    def main(self, run_spec: RunSpec, tasks: tuple[BuiltTask, ...]) -> Run:
        """The main run, which trains the job's student."""
        run = self._run("", run_spec, tasks, self.splits)
        return replace(run, control=run_spec.control and not self.trials, offset=self.offset)

    def _run(self, name: str, run_spec: RunSpec, tasks: tuple[BuiltTask, ...], rows: tuple[Tensor, Tensor]) -> Run:
        train, validation = rows
        return Run(name, run_spec, tasks, train, validation, self.start, self.pretrained, sources=self.dataset.sources)

    def main_of(self, winner: Candidate) -> Run:
        """The main run with the values of the winner of a search."""
        run_spec = RunSpec.of(winner.spec)
        return self.main(run_spec, self.build(run_spec))

    def seed(self, main: Run, index: int) -> Run:
        """The run of a further seed; of index 0 the main run."""
        if index == 0:
            return main
        run = self._reseeded(main, index)
        if any(each.student.modules for each in main.tasks):
            run = replace(run, tasks=self.build(run.run_spec))  # modules are trained, and drawn from the seed
        return run

    def control_of_seed(self, main: Run, index: int) -> Run | None:
        """The run of the control of a seed by itself; None without one."""
        return (main if index == 0 else self._reseeded(main, index)).of_control

    def _reseeded(self, main: Run, index: int) -> Run:
        """The run of a further seed, with the main run's tasks, whose columns on the device all seeds share."""
        run_spec = main.run_spec.with_training(seed=main.training.seed + index)
        run = replace(main, name=f"repeat-{index}", run_spec=run_spec, control=run_spec.control)
        return replace(run, offset=self.offset + index * self._runs_of_seed(run) * run.schedule().steps)

    def first(self) -> tuple[list[Run], list[Run]]:
        """The runs of the seeds that are trained in any case, and those of their controls alone."""
        main, seeds = self.main(self.run_spec, self.tasks), range(self.run_spec.repeats)
        controls = [self.control_of_seed(main, i) for i in seeds]
        return [self.seed(main, i) for i in seeds], [each for each in controls if each is not None]

    def offset_after_seeds(self, main: Run) -> int:
        """Optimizer steps before the baselines, if all seeds are trained."""
        return self.offset + self._runs_of_seeds(main) * main.schedule().steps

    def validation_folds(self) -> Sequence[tuple[Tensor, Tensor]]:
        """(training rows, validation rows) by which candidates are scored: the splits, or each fold."""
        train, validation = self.splits
        count = folds_of(self.spec)
        if count is None:
            return [(train, validation)]
        return folds(torch.cat([train, validation]).sort().values, count, self.run_spec.training.seed)

    def candidates(self, name: str, train: Tensor, validation: Tensor) -> list[Run]:
        """The runs of the candidates of a search, without controls."""
        specs = [RunSpec.of(candidate.spec) for candidate in self.trials]
        rows = train, validation
        return [self._run(f"{name}-{i}", spec, self.build(spec), rows) for i, spec in enumerate(specs)]

    def folds_of_controls(self) -> Sequence[tuple[Tensor, Tensor]]:
        """The folds by which controls are compared: those of the candidates where learning rates are searched; else
        none, as controls differ in their seeds alone.
        """
        is_folded = folds_of(self.spec) is not None and self.searches_rate
        return self.validation_folds() if is_folded else ()

    def control(self, name: str, i: int, rows: tuple[Tensor, Tensor]) -> Run:
        """The run of control `i` on (training rows, validation rows): with the learning rate of candidate `i` if those
        are searched, else with seed `i` after the first.
        """
        run_spec = RunSpec.of(self.trials[i].spec)
        if not self.searches_rate:
            run_spec = run_spec.with_training(seed=run_spec.training.seed + i)
        run = self._run(name, run_spec, self.build(run_spec), rows)
        return replace(run, start={}, student=False, control=True)


def _with_relation(spec: AnyTrainingJob, matrix: Matrix) -> AnyTrainingJob:
    assert isinstance(spec, MultitaskJob)
    return with_estimate(spec, matrix)
