"""The parts of a training, a few steps of each, and what all of them come to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.contracts.reports.preflight import StageEstimate
from workers.engine.balancing.relation.estimate import identity
from workers.engine.jobs.baselines.planning import baseline_stages
from workers.engine.jobs.plan import Plan
from workers.engine.jobs.preflight.memory import Held
from workers.engine.jobs.preflight.trial import Rehearsal, Rehearsed
from workers.engine.jobs.runs.runner import Stage, StageRunner
from workers.engine.tasks.build import Taught
from workers.engine.training.learner import Member
from workers.engine.training.loop import Schooling
from workers.engine.training.vectorised import Squad

PartName = Literal["relation", "candidates", "controls", "student", "repeats", "baselines"]


@dataclass(frozen=True)
class Part:
    """Stages that cost the same, of which one is rehearsed; none where they cost what those of the part before do."""

    name: PartName
    runs: int
    schooling: Schooling
    trainees: Sequence[Member | Squad] | None


@dataclass(frozen=True)
class Costs:
    """What was measured; `held` is that of the part that needs most, `epochs` those of the job's own student."""

    stages: tuple[StageEstimate, ...]
    held: Held
    epochs: int

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)


def parts(plan: Plan, runner: StageRunner, taught: tuple[Taught, ...]) -> Iterator[Part]:
    """The parts of a job in their order. A control that is found in the cache would not train; it is in here. What a
    first run will measure is not known: no task is taken to teach another, so that each may need a trunk of its own.
    """
    first = plan.probe()
    if first is not None:
        yield _part("relation", 1, first, runner)
        plan = plan.given(identity(len(plan.taught)))
        taught = plan.taught
    if plan.trials:
        yield from _searching(plan, runner)
        main = plan.main_of(plan.trials[0])
    else:
        main = plan.main(plan.course, taught)
    yield _part("student", 1, main, runner)
    more = plan.course.repeats - 1
    if more and main.control == plan.course.control:
        yield Part("repeats", more, main.schooling(), None)
    elif more:
        yield _part("repeats", more, replace(main, control=plan.course.control), runner)
    yield from _baselines(plan.course.repeats, main, runner)


def _baselines(repeats: int, main: Stage, runner: StageRunner) -> Iterator[Part]:
    """A part a task, which differ in their rows; of the steps, which cost about the same, the first's are taken."""
    for i, (_, stage) in enumerate(baseline_stages(main, runner.device, 0)):
        if i == 0:
            yield _part("baselines", repeats, stage, runner)
        else:
            yield Part("baselines", repeats, stage.schooling(), None)


def _searching(plan: Plan, runner: StageRunner) -> Iterator[Part]:
    judges = plan.judges()
    stages = plan.candidates("search", *judges[0])
    schooling = stages[0].schooling()
    squad = runner.squad("search", stages, schooling)
    if squad is not None:
        yield Part("candidates", len(judges), schooling, [squad])
    else:
        yield _part("candidates", len(judges) * len(stages), stages[0], runner)
    control = next(plan.controls(), None)
    if control is not None:
        yield _part("controls", len(plan.trials), control, runner)


def _part(name: PartName, runs: int, stage: Stage, runner: StageRunner) -> Part:
    schooling = stage.schooling()
    return Part(name, runs, schooling, runner.members(stage, schooling, control=stage.control))


def estimate(found: Iterator[Part], runner: StageRunner) -> Costs:
    """Rehearse part after part. Raises what the training of one of them would raise."""
    stages: list[StageEstimate] = []
    most, rehearsed, epochs = Held(), Rehearsed((), 0.0, 0.0, Held()), 0
    for part in found:
        if part.trainees is not None:
            rehearsed = Rehearsal(runner, part.schooling, part.trainees).run()
        stages.append(_stage(part, rehearsed))
        most = max(most, rehearsed.held, key=lambda held: held.total)
        if part.name == "student":
            epochs = part.schooling.epochs
    return Costs(tuple(stages), most, epochs)


def _stage(part: Part, rehearsed: Rehearsed) -> StageEstimate:
    steps, epochs = part.schooling.steps, part.schooling.epochs
    return StageEstimate(
        name=part.name,
        members=rehearsed.members,
        runs=part.runs,
        steps=steps,
        step_seconds=rehearsed.step,
        validation_seconds=rehearsed.epoch,
        seconds=part.runs * (steps * rehearsed.step + epochs * rehearsed.epoch),
    )
