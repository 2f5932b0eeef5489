"""The runs of a job's seeds: a student and a control of each, more while their difference is undecided.

With `repeats: "auto"` the job begins with `FIRST_SEEDS` and goes on to `MOST_SEEDS` if the difference on validation
rows is undecided and that is affordable: the test split is used once, at the end. Students of several seeds train as
one vectorised step where that is faster, and so do controls. Controls of further seeds are added: those that earlier
jobs of the same recipe left in the cache, and as many new ones as the cache saved, up to `MOST_CONTROLS`. Reasons and
rates:
`tests/architecture/decisions/engine/0122-repeats-while-undecided.md`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from app.contracts.layouts.summary import flops
from app.contracts.specs.jobs import MOST_SEEDS
from workers.engine.common.files import read_document, write_document
from workers.engine.jobs.runs.results import RunResult, TrainedModel
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner

MOST_CONTROLS = 15
AFFORDABLE_FLOPS = 5e12
"""Floating-point operations of training both networks of every seed, three forward passes a step, up to which a job
trains more seeds than the first ones: about a minute of a CPU core.
"""
Decision = TypeVar("Decision", int, bool, list[int])
IsUndecided = Callable[[Sequence[TrainedModel], Sequence[TrainedModel]], bool]
"""(students, controls) -> whether their difference on validation rows is undecided."""


@dataclass
class Seeds:
    """The trained networks of a job's seeds, in the order of the seeds."""

    students: list[RunResult] = field(default_factory=list)
    controls: list[TrainedModel] = field(default_factory=list)
    """Those of the students' seeds, then those of further seeds."""
    results: list[RunResult] = field(default_factory=list)
    """The results of all runs."""


def is_affordable(main: Run) -> bool:
    """Whether the job may train more seeds than the first ones, and further controls."""
    schedule, architecture = main.schedule(), main.run_spec.architecture
    passes = 3 * schedule.steps * min(main.training.batch_size, len(schedule.rows))
    return 2 * MOST_SEEDS * passes * flops(architecture) <= AFFORDABLE_FLOPS


@dataclass
class SeedRuns:
    """Trains the seeds of a job.

    `run_of` gives the run of a seed by its index, the first of which is the main run; `control_of` that of its control
    by itself, None without one.
    """

    runner: Runner
    run_of: Callable[[int], Run]
    control_of: Callable[[int], Run | None]
    is_undecided: IsUndecided
    _seeds: Seeds = field(default_factory=Seeds, init=False)

    def train(self) -> Seeds:
        """Train all seeds, or load the results of earlier attempts. Raises Stopped and UserError."""
        run_spec = self.run_of(0).run_spec
        if run_spec.most_repeats == run_spec.repeats:
            self._train_apart(range(run_spec.repeats))
            return self._seeds
        affordable = is_affordable(self.run_of(0))
        cached = self._cached_controls()
        self._train_together(range(run_spec.repeats))
        if affordable and self._goes_on():
            self._train_together(range(run_spec.repeats, run_spec.most_repeats))
        self._add_controls(cached, affordable)
        return self._seeds

    def _train_apart(self, seeds: range) -> None:
        """One run of the loop for each seed, with student and control."""
        for i in seeds:
            results = [self.runner.run(part) for part in self.run_of(i).parts]
            self._seeds.results += results
            self._seeds.students.append(results[0])
            self._seeds.controls += [each.models["control"] for each in results if "control" in each.models]

    def _train_together(self, seeds: range) -> None:
        """All students as one vectorised step, then all controls; one seed after another where that is not faster."""
        runs = [replace(self.run_of(i), control=False) for i in seeds]
        students = self.runner.run_population(f"seeds-{seeds.start}", runs)
        if students is None:
            self._train_apart(seeds)
            return
        self._seeds.results += students
        self._seeds.students += students
        self._train_controls(seeds)

    def _train_controls(self, seeds: range) -> None:
        """The controls of these seeds alone, those of the cache without training."""
        runs = {i: run for i in seeds if (run := self.control_of(i)) is not None}
        missing = self._once(f"missing-{seeds.start}", lambda: [i for i in runs if not self._is_cached(runs[i])])
        trained = self._trained_controls(seeds.start, [runs[i] for i in missing])
        for i, run in runs.items():
            control = next(trained) if i in missing else self.runner.cached_control(run)
            self._seeds.controls.append(control or self._train_alone(run))

    def _trained_controls(self, first: int, runs: list[Run]) -> Iterator[TrainedModel]:
        results = self.runner.run_population(f"controls-{first}", runs)
        for i, run in enumerate(runs):
            result = results[i] if results is not None else self.runner.run(run)
            self._seeds.results.append(result)
            yield result.models["control"]

    def _train_alone(self, run: Run) -> TrainedModel:
        """A cached control that was removed meanwhile is trained again."""
        result = self.runner.run(run)
        self._seeds.results.append(result)
        return result.models["control"]

    def _is_cached(self, run: Run) -> bool:
        return self.runner.cached_control(run) is not None

    def _add_controls(self, cached: int, affordable: bool) -> None:
        """Controls of further seeds: the cached ones, and as many new ones as there are students."""
        students = len(self._seeds.students)
        if not self._seeds.controls:
            return
        most = cached + students if affordable else cached
        self._train_controls(range(students, min(MOST_CONTROLS, most)))

    # What is decided once, so that a resumed job does the same.

    def _cached_controls(self) -> int:
        """The number of seeds from the first on whose control earlier jobs left in the cache."""

        def count() -> int:
            runs = (self.control_of(i) for i in range(MOST_CONTROLS))
            return len(list(takewhile(lambda run: run is not None and self._is_cached(run), runs)))

        return self._once("cached", count)

    def _goes_on(self) -> bool:
        """Whether the difference is undecided after the first seeds."""
        students = [each.models["student"] for each in self._seeds.students]
        return self._once("undecided", lambda: self.is_undecided(students, self._seeds.controls))

    def _once(self, name: str, decide: Callable[[], Decision]) -> Decision:
        path = Path(self.runner.order.checkpoints_dir) / "seeds.json"
        document = read_document(path) or {}
        if name not in document:
            document[name] = decide()
            write_document(path, document)
        decided: Decision = document[name]
        return decided
