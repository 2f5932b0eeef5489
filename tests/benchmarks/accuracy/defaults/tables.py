"""TABLE.md: what the plain settings, the recipe and the best of the grid reach, and what the recipe loses to that."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.accuracy.defaults import few_labels
from tests.benchmarks.accuracy.defaults.campaign import JOB, Campaign
from tests.benchmarks.accuracy.defaults.cells import Cell
from tests.benchmarks.accuracy.defaults.grid import PLAIN, RECIPE, Setting
from tests.benchmarks.accuracy.defaults.sets.data_set import DataSet

MOST_MEAN, MOST_MEAN_PERCENT, MOST_OF_ONE = 1.0, 3.0, 2.5
"""Largest mean regret in points and, of rmse, in percent; largest regret of one data set."""
HEAD = [
    "| data set (student) | rows | metric | plain | recipe | best of the grid | regret ± se | steps plain, recipe "
    "| first seed: job, here |",
    "|---|---|---|---|---|---|---|---|---|",
]


@dataclass(frozen=True)
class Line:
    """A data set's figures: a list has one for each seed, higher is better after `sign`."""

    data: DataSet
    plain: Sequence[Cell]
    recipe: Sequence[Cell]
    best: Sequence[Cell]
    """Of the finalist with the better mean; the recipe's where neither is better than it."""
    best_name: str
    job: Sequence[Cell]
    """A job of the recipe on the first seed."""

    @property
    def losses(self) -> list[float]:
        """For each seed what the recipe loses: in points, of rmse in percent of the best."""
        pairs = zip((cell.figure for cell in self.best), (cell.figure for cell in self.recipe), strict=True)
        if self.data.is_error:
            scale = 100.0 / _mean(self.best)
            return [scale * (mine - best) for best, mine in pairs]
        return [100.0 * (best - mine) for best, mine in pairs]

    @property
    def regret(self) -> float:
        """Their mean, at least 0."""
        return statistics.fmean(self.losses)

    def text(self) -> str:
        """As a row of Markdown."""
        losses = self.losses
        error = statistics.stdev(losses) / len(losses) ** 0.5 if len(losses) > 1 else 0.0
        unit = " %" if self.data.is_error else ""
        student = ", ".join(f"{value}" for value in self.data.student.values())
        figures = " | ".join(self._figure(cells) for cells in (self.plain, self.recipe, self.best))
        steps = f"{self.plain[0].steps}, {self.recipe[0].steps}"
        check = ", ".join(self._figure(cells) for cells in (self.job, self.recipe[:1]) if cells)
        return (
            f"| {self.data.name} ({student}) | {self.data.origin} | {self.data.metric} | {figures} ({self.best_name}) "
            f"| {self.regret:.2f}{unit} ± {error:.2f} | {steps} | {check} |"
        )

    def _figure(self, cells: Sequence[Cell]) -> str:
        mean = _mean(cells)
        return f"{mean:.2f}" if self.data.is_error else f"{100 * mean:.2f}"


def _mean(cells: Sequence[Cell]) -> float:
    return statistics.fmean(cell.figure for cell in cells)


def line(campaign: Campaign, name: str, data: DataSet) -> Line | None:
    """The line of a data set; None while cells are missing."""
    seeds = campaign.comparison_seeds(data)

    def of(setting: Setting) -> list[Cell]:
        return campaign.cells.of(name, setting.name, seeds)

    finalists = campaign.finalists(name, data)
    if not finalists or any(len(of(each)) < len(seeds) for each in (PLAIN, RECIPE, *finalists)):
        return None
    sign = -1.0 if data.is_error else 1.0
    best = max((RECIPE, *finalists), key=lambda each: sign * _mean(of(each)))
    return Line(data, of(PLAIN), of(RECIPE), of(best), best.name, campaign.cells.of(name, JOB, seeds[:1]))


def summary(lines: Sequence[Line]) -> str:
    """Mean and worst regret, beside what is expected."""
    points = [each.regret for each in lines if not each.data.is_error]
    percent = [each.regret for each in lines if each.data.is_error]
    parts = []
    for regrets, most, unit in ((points, MOST_MEAN, "points"), (percent, MOST_MEAN_PERCENT, "% of rmse")):
        if regrets:
            parts.append(f"mean regret {statistics.fmean(regrets):.2f} {unit} over {len(regrets)} (at most {most})")
    if points:
        parts.append(f"worst {max(points):.2f} points (at most {MOST_OF_ONE})")
    return "; ".join(parts) + "."


def few_labels_lines(campaign: Campaign) -> list[str]:
    """Of the few that are measured: teacher, control, student and the gain."""
    lines = []
    for name, case in few_labels.cases().items():
        found = {party: campaign.cells.of(name, party, few_labels.SEEDS) for party in few_labels.PARTIES}
        if all(found.values()):
            lines.append(_gain(case.data.name, found))
    head = ["| data set, 10 % of its labels | teacher | control | student | gain ± se |", "|---|---|---|---|---|"]
    if not lines:
        return []
    cells = [cell for name in few_labels.cases() for cell in campaign.cells.of(name, "student", few_labels.SEEDS)]
    return [_where(cells), "", *head, *lines]


def _gain(name: str, found: Mapping[str, Sequence[Cell]]) -> str:
    pairs = zip(found["student"], found["control"], strict=True)
    gains = [100.0 * (student.figure - control.figure) for student, control in pairs]
    error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
    means = " | ".join(f"{100 * _mean(found[party]):.2f}" for party in ("teacher", "control", "student"))
    return f"| {name} | {means} | {statistics.fmean(gains):+.2f} ± {error:.2f} |"


def provenance(lines: Sequence[Line]) -> str:
    """Where and from which commits the figures are."""
    return _where([cell for each in lines for cell in (*each.plain, *each.recipe, *each.best)])


def _where(cells: Sequence[Cell]) -> str:
    commits, machines = (sorted({getattr(cell, name) for cell in cells}) for name in ("commit", "machine"))
    return f"Measured at {', '.join(commits)} on {'; '.join(machines)}; one thread."
