"""The parts of a training, a few steps of each, and what all of them come to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.contracts.reports.preflight import StageEstimate
from workers.engine.balancing.relation.estimate import identity
from workers.engine.jobs.baselines.planning import baseline_runs
from workers.engine.jobs.plan import Plan
from workers.engine.jobs.preflight.memory import Held
from workers.engine.jobs.preflight.trial import TrialFigures, TrialRun
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner
from workers.engine.training.batches import BatchSchedule
from workers.engine.training.learner import Learner
from workers.engine.training.vectorised import VectorisedLearners

PartName = Literal["relation", "candidates", "controls", "student", "repeats", "baselines"]


@dataclass(frozen=True)
class Part:
    """Runs that cost the same, of which one is tried; none where they cost what those of the part before do."""

    name: PartName
    runs: int
    schedule: BatchSchedule
    learners: Sequence[Learner | VectorisedLearners] | None


@dataclass(frozen=True)
class Costs:
    """What was measured; `held` is that of the part that needs most, `epochs` those of the job's own student."""

    runs: tuple[StageEstimate, ...]
    held: Held
    epochs: int

    @property
    def seconds(self) -> float:
        """Of all runs."""
        return sum(run.seconds for run in self.runs)


def parts(plan: Plan, runner: Runner) -> Iterator[Part]:
    """The parts of a job in their order. A control that is found in the cache would not train; it is in here. What a
    first run will measure is not known: no task is taken to teach another, so that each may need a trunk of its own.
    """
    first = plan.probe()
    if first is not None:
        yield _part("relation", 1, first, runner)
        plan = plan.given(identity(len(plan.tasks)))
    if plan.trials:
        yield from _searching(plan, runner)
        main = plan.main_of(plan.trials[0])
    else:
        main = plan.main(plan.run_spec, plan.tasks)
    yield _part("student", 1, main, runner)
    more = plan.run_spec.repeats - 1
    if more and main.control == plan.run_spec.control:
        yield Part("repeats", more, main.schedule(), None)
    elif more:
        yield _part("repeats", more, replace(main, control=plan.run_spec.control), runner)
    yield from _baselines(plan.run_spec.repeats, main, runner)


def _baselines(repeats: int, main: Run, runner: Runner) -> Iterator[Part]:
    """A part a task, which differ in their rows; of the steps, which cost about the same, the first's are taken."""
    for i, (_, run) in enumerate(baseline_runs(main, runner.device, 0)):
        if i == 0:
            yield _part("baselines", repeats, run, runner)
        else:
            yield Part("baselines", repeats, run.schedule(), None)


def _searching(plan: Plan, runner: Runner) -> Iterator[Part]:
    judges = plan.judges()
    runs = plan.candidates("search", *judges[0])
    schedule = runs[0].schedule()
    vectorised = runner.vectorised("search", runs, schedule)
    if vectorised is not None:
        yield Part("candidates", len(judges), schedule, [vectorised])
    else:
        yield _part("candidates", len(judges) * len(runs), runs[0], runner)
    control = next(plan.controls(), None)
    if control is not None:
        yield _part("controls", len(plan.trials), control, runner)


def _part(name: PartName, runs: int, run: Run, runner: Runner) -> Part:
    schedule = run.schedule()
    return Part(name, runs, schedule, runner.learners(run, schedule, control=run.control))


def estimate(parts: Iterator[Part], runner: Runner) -> Costs:
    """Try a few steps of each part. Raises what the training of one of them would raise."""
    runs: list[StageEstimate] = []
    most, figures, epochs = Held(), TrialFigures((), 0.0, 0.0, Held()), 0
    for part in parts:
        if part.learners is not None:
            figures = TrialRun(runner, part.schedule, part.learners).run()
        runs.append(_estimate_of(part, figures))
        most = max(most, figures.held, key=lambda held: held.total)
        if part.name == "student":
            epochs = part.schedule.epochs
    return Costs(tuple(runs), most, epochs)


def _estimate_of(part: Part, figures: TrialFigures) -> StageEstimate:
    steps, epochs = part.schedule.steps, part.schedule.epochs
    return StageEstimate(
        name=part.name,
        members=figures.learners,
        runs=part.runs,
        steps=steps,
        step_seconds=figures.step,
        validation_seconds=figures.epoch,
        seconds=part.runs * (steps * figures.step + epochs * figures.epoch),
    )
