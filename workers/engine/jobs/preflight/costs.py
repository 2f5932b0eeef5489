"""The stages of a training, and an estimate of their cost from a few steps of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.contracts.reports.preflight import StageEstimate
from workers.engine.balancing.relation.estimate import identity
from workers.engine.jobs.baselines.planning import baseline_runs
from workers.engine.jobs.plan import Plan
from workers.engine.jobs.preflight.memory import MemoryUse
from workers.engine.jobs.preflight.trial import TrialResult, TrialRun
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner
from workers.engine.jobs.search_runner import scorings
from workers.engine.training.batches import BatchSchedule
from workers.engine.training.learner import Learner
from workers.engine.training.vectorised.learners import VectorisedLearners

StageName = Literal["relation", "candidates", "controls", "student", "repeats", "baselines"]


@dataclass(frozen=True)
class Stage:
    """Runs of equal cost, of which one is measured; `learners` None: their cost is that of the stage before."""

    name: StageName
    runs: int
    schedule: BatchSchedule
    learners: Sequence[Learner | VectorisedLearners] | None


@dataclass(frozen=True)
class Costs:
    """The cost of a training: `memory` is that of the largest stage, `epochs` are those of the student."""

    stages: tuple[StageEstimate, ...]
    memory: MemoryUse
    epochs: int

    @property
    def seconds(self) -> float:
        """Seconds of all stages."""
        return sum(stage.seconds for stage in self.stages)


def stages(plan: Plan, runner: Runner) -> Iterator[Stage]:
    """The stages of a job in order.

    Controls are included even if they are in the cache. The relation that a first run would estimate is unknown: the
    identity is used, with which each task may need its own trunk.
    """
    probe = plan.probe()
    if probe is not None:
        yield _stage("relation", 1, probe, runner)
        plan = plan.with_relation(identity(len(plan.tasks)))
    if plan.trials:
        yield from _search_stages(plan, runner)
        main = plan.main_of(plan.trials[0])
    else:
        main = plan.main(plan.run_spec, plan.tasks)
    yield from _seed_stages(plan, main, runner)
    yield from _baseline_stages(plan.run_spec.repeats, main, runner)


def _seed_stages(plan: Plan, main: Run, runner: Runner) -> Iterator[Stage]:
    """The seeds that are trained in any case, those of `repeats: "auto"` at once where that is faster."""
    control = main.of_control if plan.controls_first and not plan.beside_controls else None
    if plan.run_spec.most_repeats > plan.run_spec.repeats:
        seeds = [plan.seed(main, i) for i in range(plan.run_spec.repeats)]
        students = runner.population([replace(run, control=False) for run in seeds])
        controls = runner.population(
            [run for i in range(len(seeds)) if (run := plan.control_of_seed(main, i)) is not None]
        )
        if students is not None and controls is not None:
            yield Stage("student", 1, students[1], [students[0]])
            yield Stage("controls", 1, controls[1], [controls[0]])
            return
    if control is not None:
        yield _stage("controls", plan.run_spec.repeats, control, runner)
        main = replace(main, control=False)
    yield _stage("student", 1, main, runner)
    more = plan.run_spec.repeats - 1
    if (more and control is not None) or (more and main.control == plan.run_spec.control):
        yield Stage("repeats", more, main.schedule(), None)
    elif more:
        yield _stage("repeats", more, replace(main, control=plan.run_spec.control), runner)


def _baseline_stages(repeats: int, main: Run, runner: Runner) -> Iterator[Stage]:
    """A stage for each task. Tasks differ in their rows, but hardly in the cost of a step: the first is measured."""
    for i, (_, run) in enumerate(baseline_runs(main, runner.device, 0)):
        if i == 0:
            yield _stage("baselines", repeats, run, runner)
        else:
            yield Stage("baselines", repeats, run.schedule(), None)


def _search_stages(plan: Plan, runner: Runner) -> Iterator[Stage]:
    scorings(plan)
    folds = plan.validation_folds()
    runs = plan.candidates("search", *folds[0])
    schedule = runs[0].schedule()
    vectorised = runner.vectorised("search", runs, schedule)
    if vectorised is not None:
        yield Stage("candidates", len(folds), schedule, [vectorised])
    else:
        yield _stage("candidates", len(folds) * len(runs), runs[0], runner)
    if plan.control_runs:
        yield _stage("controls", plan.control_runs, plan.control("control-0", 0, plan.splits), runner)


def _stage(name: StageName, runs: int, run: Run, runner: Runner) -> Stage:
    schedule = run.schedule()
    return Stage(name, runs, schedule, runner.learners(run, schedule, control=run.control))


def estimate(stages: Iterator[Stage], runner: Runner) -> Costs:
    """Run a few steps of each stage. Raises the errors that its training would raise."""
    estimates: list[StageEstimate] = []
    largest, trial, epochs = MemoryUse(), TrialResult((), 0.0, 0.0, MemoryUse()), 0
    for stage in stages:
        if stage.learners is not None:
            trial = TrialRun(runner, stage.schedule, stage.learners).run()
        estimates.append(_stage_estimate(stage, trial))
        largest = max(largest, trial.memory, key=lambda memory: memory.total)
        if stage.name == "student":
            epochs = stage.schedule.epochs
    return Costs(tuple(estimates), largest, epochs)


def _stage_estimate(stage: Stage, trial: TrialResult) -> StageEstimate:
    steps, epochs = stage.schedule.steps, stage.schedule.epochs
    return StageEstimate(
        name=stage.name,
        members=trial.learners,
        runs=stage.runs,
        steps=steps,
        step_seconds=trial.step_seconds,
        validation_seconds=trial.epoch_seconds,
        seconds=stage.runs * (steps * trial.step_seconds + epochs * trial.epoch_seconds),
    )
