"""Executes a search: trains all candidates and as many controls, and selects by measures on validation rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Literal

from app.contracts.problems import UserError
from app.contracts.reports.search import SearchReport, Trial
from app.contracts.resolving.distillation.searches import folds_of
from app.contracts.wire.events import WarningEvent
from workers.engine.jobs.plan import Plan
from workers.engine.jobs.runs.results import RunResult, TrainedModel
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner
from workers.engine.jobs.runs.scoring import Scored, Scoring, mean
from workers.engine.jobs.search import Candidate


@dataclass(frozen=True)
class Searched:
    """The result of a search: the winner, the best control, all scores, and the results of single runs."""

    winner: Candidate
    control: TrainedModel | None
    report: SearchReport
    results: list[RunResult]
    seconds: float
    """Seconds of candidates that trained as one vectorised step, as is `bit_exact`."""
    bit_exact: bool


@dataclass(frozen=True)
class Choice:
    """The best of several, how many have its score, and what decided."""

    index: int
    tied: int
    decided_by: Literal["score", "loss", "values"]


def best_of(scored: Sequence[Scored], order: Sequence[Any]) -> Choice:
    """The highest score; of equal ones the lowest loss; of those the first by `order`, which is not that of the list.

    A measure that is not finite is the worst.
    """
    scores = [-inf if each.score is None else each.score for each in scored]
    losses = [inf if each.loss is None else each.loss for each in scored]
    index = min(range(len(scored)), key=lambda i: (-scores[i], losses[i], order[i]))
    tied = scores.count(scores[index])
    equal = sum(pair == (scores[index], losses[index]) for pair in zip(scores, losses, strict=True))
    return Choice(index, tied, "score" if tied == 1 else "loss" if equal == 1 else "values")


def scorings(plan: Plan) -> list[Scoring]:
    """How candidates are compared, on the validation split or in each fold.

    Raises UserError `search_unmeasured` where rows have neither labels nor a teacher's output, or folds differ in that,
    and `metric_undefined`.
    """
    training = plan.run_spec.training
    rows = [validation for _, validation in plan.validation_folds()]
    found = [Scoring.of(plan.spec, plan.tasks, each, training) for each in rows]
    made = [each for each in found if each is not None]
    if len(made) < len(found):
        place = "no row of the validation split" if len(found) == 1 else f"no row of one of the {len(found)} folds"
        raise UserError(
            "search_unmeasured",
            f"{place} has a label or a teacher's output, and candidates are compared by them: give labels to more rows",
        )
    if len({(tuple(task.name for task in each.tasks), each.measures, each.loss_measures) for each in made}) > 1:
        raise UserError(
            "search_unmeasured",
            "the folds differ in which tasks have labels on their rows, so that their scores cannot be averaged: give "
            "labels to more rows, take fewer `folds`, or leave them out and let the validation split decide",
        )
    return made


def search(runner: Runner, plan: Plan) -> Searched:
    """Train and score all candidates of `plan`; its `offset` grows by their steps. Raises Stopped and UserError."""
    search = _Search(runner, plan, scorings(plan))
    by_fold = search.by_fold()
    means = _means(by_fold)
    choice = best_of(means, [candidate.order for candidate in plan.trials])
    if means[choice.index].score is None:
        raise UserError(
            "diverged", "no candidate of the search has finite outputs on the validation rows: lower the learning rate"
        )
    control, controls = search.best_control()
    report = search.report(choice, by_fold, means, controls)
    _warn_of_ties(runner, report)
    return Searched(plan.trials[choice.index], control, report, search.results, search.seconds, search.bit_exact)


@dataclass
class _Search:
    runner: Runner
    plan: Plan
    scorings: list[Scoring]
    results: list[RunResult] = field(default_factory=list)
    seconds: float = 0.0
    bit_exact: bool = True

    def by_fold(self) -> list[list[Scored]]:
        """The measures of the candidates in each fold, or on the validation split."""
        count = len(self.scorings)
        return [self._candidates(f"search-fold-{i}" if count > 1 else "search", i) for i in range(count)]

    def _candidates(self, name: str, fold: int) -> list[Scored]:
        """The measures of each candidate; trained as one vectorised step if possible."""
        scoring = self.scorings[fold]
        runs = self.plan.candidates(name, *self.plan.validation_folds()[fold])
        runs = [replace(run, offset=self.plan.offset) for run in runs]
        vectorised = self.runner.run_vectorised(name, runs, scoring)
        if vectorised is None:
            return [self._scored(self._train(run, "student"), scoring) for run in runs]
        self.plan.offset += len(runs) * runs[0].schedule().steps
        self.seconds += vectorised.seconds
        self.bit_exact = self.bit_exact and vectorised.bit_exact
        return vectorised.scores

    def best_control(self) -> tuple[TrainedModel | None, list[Scored]]:
        """(the best control, the measures of all), chosen as the candidates are; (None, []) without controls."""
        folds = self.plan.folds_of_controls()
        if not self.plan.run_spec.control:
            return None, []
        if folds:
            return self._best_control_by_folds(folds)
        runs = (self.plan.control(f"control-{i}", i, self.plan.splits) for i in range(self.plan.control_runs))
        controls = [self._train(run, "control") for run in runs]
        scoring = self.scorings[0] if folds_of(self.plan.spec) is None else self._on_validation_split()
        if scoring is None:
            return controls[0], []
        scored = [self._scored(control, scoring) for control in controls]
        return controls[best_of(scored, self._order_of_controls()).index], scored

    def _best_control_by_folds(self, folds: Sequence[Any]) -> tuple[TrainedModel, list[Scored]]:
        """Controls are trained in each fold, and the best again on the splits, as the candidates are."""
        by_fold = []
        for fold, (rows, scoring) in enumerate(zip(folds, self.scorings, strict=True)):
            runs = (self.plan.control(f"control-fold-{fold}-{i}", i, rows) for i in range(len(self.plan.trials)))
            by_fold.append([self._scored(self._train(run, "control"), scoring) for run in runs])
        means = _means(by_fold)
        best = best_of(means, self._order_of_controls()).index
        return self._train(self.plan.control("control", best, self.plan.splits), "control"), means

    def _on_validation_split(self) -> Scoring | None:
        plan = self.plan
        return Scoring.of(plan.spec, plan.tasks, plan.splits[1], plan.run_spec.training)

    def _order_of_controls(self) -> list[Any]:
        """By the values of their candidates where learning rates are searched, else by seed."""
        plan = self.plan
        return [candidate.order for candidate in plan.trials] if plan.searches_rate else list(range(len(plan.trials)))

    def _train(self, run: Run, learner: str) -> TrainedModel:
        """Execute a run; returns the trained model of one of its learners."""
        result = self.runner.run(replace(run, offset=self.plan.offset))
        self.plan.offset += run.schedule().steps
        self.results.append(result)
        return result.models[learner]

    def _scored(self, model: TrainedModel, scoring: Scoring) -> Scored:
        return scoring.of_network(model.network, self.runner.data.inputs, self.runner.device)

    def report(
        self, choice: Choice, by_fold: list[list[Scored]], means: list[Scored], controls: list[Scored]
    ) -> SearchReport:
        """The report of candidates and controls."""
        folds = list(zip(*by_fold, strict=True)) if len(by_fold) > 1 else [()] * len(means)
        return SearchReport(
            trials=tuple(
                Trial(values=trial.values, score=each.score, loss=each.loss, folds=tuple(fold.score for fold in own))
                for trial, each, own in zip(self.plan.trials, means, folds, strict=True)
            ),
            chosen=choice.index,
            measure=_named(self.scorings[0].measures),
            loss_measure=_named(self.scorings[0].loss_measures),
            rows=sum(scoring.counted for scoring in self.scorings),
            tied=choice.tied,
            decided_by=choice.decided_by,
            folds=folds_of(self.plan.spec),
            controls=tuple(each.score for each in controls),
            control_losses=tuple(each.loss for each in controls),
        )


def _means(by_fold: Sequence[Sequence[Scored]]) -> list[Scored]:
    """The mean over folds of each candidate's measures."""
    return [
        Scored(mean([fold.score for fold in folds]), mean([fold.loss for fold in folds]))
        for folds in zip(*by_fold, strict=True)
    ]


def _named(measures: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(measures))


def _warn_of_ties(runner: Runner, report: SearchReport) -> None:
    """A warning where at least half of the candidates have the best score."""
    if report.tied < 2 or 2 * report.tied < len(report.trials):
        return
    decided = f"the lowest {report.loss_measure} decided"
    if report.decided_by == "values":
        decided = f"some of the same {report.loss_measure} too, so that the smallest values decided"
    message = (
        f"{report.tied} of {len(report.trials)} candidates of the search are equal in {report.measure} on "
        f"{report.rows} validation rows, and {decided}: give more validation rows, set `folds`, or set `select_by` to "
        "`loss` or another measure with fewer ties"
    )
    runner.emit(WarningEvent(code="search_tied", message=message))
