"""Executes a search: trains all candidates and as many controls, and selects by validation score."""

from dataclasses import dataclass, field, replace

from torch import Tensor

from app.contracts.reports.search import SearchReport, Trial
from workers.engine.jobs.plan import Plan
from workers.engine.jobs.runs.results import RunResult, TrainedModel
from workers.engine.jobs.runs.run import Run
from workers.engine.jobs.runs.runner import Runner
from workers.engine.jobs.search import Candidate, folds_of


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


def search(runner: Runner, plan: Plan) -> Searched:
    """Train and score all candidates of `plan`; its `offset` grows by their steps. Raises Stopped and UserError."""
    search = _Search(runner, plan)
    folds = plan.validation_folds()
    names = [f"search-fold-{i}" for i in range(len(folds))] if len(folds) > 1 else ["search"]
    by_fold = [search.scores(name, *rows) for name, rows in zip(names, folds, strict=True)]
    scores = [list(each) for each in zip(*by_fold, strict=True)]
    means = [sum(each) / len(each) for each in scores]
    best = means.index(max(means))
    controls = [search.train(run, "control") for run in plan.controls()]
    report = SearchReport(
        trials=tuple(
            Trial(values=candidate.values, score=mean, folds=tuple(each) if len(each) > 1 else ())
            for candidate, mean, each in zip(plan.trials, means, scores, strict=True)
        ),
        chosen=best,
        folds=folds_of(plan.spec),
        controls=tuple(model.score or 0.0 for model in controls),
    )
    control = max(controls, key=lambda model: model.score or 0.0) if controls else None
    return Searched(plan.trials[best], control, report, search.results, search.seconds, search.bit_exact)


@dataclass
class _Search:
    runner: Runner
    plan: Plan
    results: list[RunResult] = field(default_factory=list)
    seconds: float = 0.0
    bit_exact: bool = True

    def scores(self, name: str, train: Tensor, validation: Tensor) -> list[float]:
        """The score of each candidate on validation rows; trained as one vectorised step if possible."""
        runs = self.plan.candidates(name, train, validation)
        vectorised = self.runner.run_vectorised(name, [replace(run, offset=self.plan.offset) for run in runs])
        if vectorised is None:
            return [self.train(run, "student").score or 0.0 for run in runs]
        self.plan.offset += len(runs) * runs[0].schedule().steps
        self.seconds += vectorised.seconds
        self.bit_exact = self.bit_exact and vectorised.bit_exact
        return vectorised.scores

    def train(self, run: Run, learner: str) -> TrainedModel:
        """Execute a run; returns the trained model of one of its learners."""
        result = self.runner.run(replace(run, offset=self.plan.offset))
        self.plan.offset += run.schedule().steps
        self.results.append(result)
        return result.models[learner]
