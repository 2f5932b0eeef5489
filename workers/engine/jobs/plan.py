"""The runs of a job, in order: candidates of a search, their controls, the job's own, further seeds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch
from torch import Tensor

from app.contracts.specs.jobs import MultitaskJob
from workers.engine.balancing.relation.matrix import Matrix
from workers.engine.data.dataset import Dataset
from workers.engine.jobs.baselines.planning import labelled_tasks
from workers.engine.jobs.runs.results import RunResult
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.search import Candidate, folds, folds_of, searches_rate
from workers.engine.tasks.build import BuiltTask
from workers.engine.tasks.relation import with_estimate
from workers.engine.tasks.run_spec import RunSpec, Spec


@dataclass
class Plan:
    """What is trained for a spec; `offset` counts the steps of the runs before the next."""

    run_spec: RunSpec
    tasks: tuple[BuiltTask, ...]
    dataset: Dataset
    trials: list[Candidate]
    spec: Spec
    build: Callable[[RunSpec], tuple[BuiltTask, ...]]
    start: dict[str, Tensor]
    offset: int = 0

    @property
    def splits(self) -> tuple[Tensor, Tensor]:
        """(training rows, validation rows)."""
        splits = self.dataset.splits
        return splits["train"], splits.get("validation", torch.empty(0, dtype=torch.int64))

    @property
    def steps(self) -> int:
        """Optimizer steps of all runs, as far as epochs of the training split tell."""
        run, first = self.main(self.run_spec, self.tasks), self.probe()
        trials = len(self.trials) * (folds_of(self.spec) or 1)
        controls = len(self.trials) if self.trials and self.run_spec.control else 0
        probe = first.schedule().steps if first is not None else 0
        singles = len(labelled_tasks(self.tasks, run.train)) if self.run_spec.baselines else 0
        runs = trials + controls + self.run_spec.repeats * (len(run.parts) + singles)
        return probe + run.schedule().steps * runs

    def probe(self) -> Run | None:
        """The first run that measures what tasks do to each other, where the student or its teachers go by that."""
        if self.run_spec.probe is None:
            return None
        run = self.main(self.run_spec, self.tasks)
        steps = max(1, ceil(self.run_spec.probe.probe * run.schedule().steps))
        run_spec = self.run_spec.with_training(steps=steps, epochs=None, early_stopping=None)
        return self._run("relation", run_spec, self.tasks, self.splits)

    def after(self, probed: RunResult) -> "Plan":
        """The plan as if the job had given the relation that its first run measured."""
        assert probed.measured is not None
        return self.given(tuple(tuple(row) for row in probed.measured["estimate"]))

    def given(self, matrix: Matrix) -> "Plan":
        """The plan behind a first run that has measured `matrix`."""
        first = self.probe()
        assert first is not None
        spec = related(self.spec, matrix)
        trials = [replace(trial, spec=related(trial.spec, matrix)) for trial in self.trials]
        run_spec = RunSpec.of(trials[0].spec if trials else spec)
        return replace(
            self,
            run_spec=run_spec,
            tasks=self.build(run_spec),
            trials=trials,
            spec=spec,
            offset=first.schedule().steps,
        )

    def main(self, run_spec: RunSpec, tasks: tuple[BuiltTask, ...]) -> Run:
        """The run of the job's own student."""
        run = self._run("", run_spec, tasks, self.splits)
        return replace(run, control=run_spec.control and not self.trials, offset=self.offset)

    def _run(self, name: str, run_spec: RunSpec, tasks: tuple[BuiltTask, ...], rows: tuple[Tensor, Tensor]) -> Run:
        train, validation = rows
        return Run(name, run_spec, tasks, train, validation, self.start, sources=self.dataset.sources)

    def main_of(self, winner: Candidate) -> Run:
        """The same for the winner of a search: trained again, as if the job had named its values."""
        run_spec = RunSpec.of(winner.spec)
        return self.main(run_spec, self.build(run_spec))

    def repeats(self, main: Run) -> list[Run]:
        """The further seeds."""
        found = []
        for i in range(1, main.run_spec.repeats):
            run_spec = main.run_spec.with_training(seed=main.training.seed + i)
            run = replace(main, name=f"repeat-{i}", run_spec=run_spec, tasks=self.build(run_spec))
            run = replace(run, control=run_spec.control)
            found.append(replace(run, offset=self.offset + i * len(run.parts) * run.schedule().steps))
        return found

    def judges(self) -> Sequence[tuple[Tensor, Tensor]]:
        """(training rows, validation rows) of each judgement of the candidates: the splits, or the folds."""
        train, validation = self.splits
        count = folds_of(self.spec)
        if count is None:
            return [(train, validation)]
        return folds(torch.cat([train, validation]).sort().values, count, self.run_spec.training.seed)

    def candidates(self, name: str, train: Tensor, validation: Tensor) -> list[Run]:
        """A run for each candidate of a search, without controls."""
        specs = [RunSpec.of(candidate.spec) for candidate in self.trials]
        rows = train, validation
        return [self._run(f"{name}-{i}", spec, self.build(spec), rows) for i, spec in enumerate(specs)]

    def controls(self) -> Iterator[Run]:
        """As many trials as the student has: over its learning rates where they are searched, else over seeds. One
        after the other, as each holds columns on the device.
        """
        for i, candidate in enumerate(self.trials if self.run_spec.control else ()):
            run_spec = RunSpec.of(candidate.spec)
            if not searches_rate(self.spec):
                run_spec = run_spec.with_training(seed=run_spec.training.seed + i)
            run = self._run(f"control-{i}", run_spec, self.build(run_spec), self.splits)
            yield replace(run, start={}, student=False, control=True)


def related(spec: Spec, matrix: Matrix) -> Spec:
    """The spec with the relation that was measured."""
    assert isinstance(spec, MultitaskJob)
    return with_estimate(spec, matrix)
