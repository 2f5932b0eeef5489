"""Which cells are measured, in which order, and what is compared with what.

The grid is screened by seeds of its own, so that the comparison is not biased towards the candidate that had luck:
its best two candidates then run on the seeds of the comparison, beside the recipe and the plain settings.
"""

import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.accuracy.defaults import few_labels
from tests.benchmarks.accuracy.defaults.cells import Cell, Cells
from tests.benchmarks.accuracy.defaults.few_labels import FewLabels
from tests.benchmarks.accuracy.defaults.grid import (
    PLAIN,
    RECIPE,
    Setting,
    grid,
    screening_seeds,
)
from tests.benchmarks.accuracy.defaults.run import Measured, measure
from tests.benchmarks.accuracy.defaults.sets.data_set import DataSet
from tests.benchmarks.accuracy.defaults.stacked.figures import Wanted, measured
from tests.benchmarks.figures import machine

JOB = "recipe, as a job"
"""A job of the recipe by itself: beside the same seed in a stack."""
ROOT = Path(__file__).parents[4]


def commit() -> str:
    """The commit of the code that measures, with `+` where files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@dataclass
class Campaign:
    """Measures what is missing in `cells`. `seeds` limits the seeds of each data set."""

    cells: Cells
    seeds: int | None = None
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        self._commit, self._machine = commit(), machine()

    def comparison_seeds(self, data: DataSet) -> Sequence[int]:
        """Seeds of plain settings, recipe and finalists."""
        return range(min(data.seeds, self.seeds or data.seeds))

    def run(self, name: str, data: DataSet) -> None:
        """Plain settings and recipe, the screening of the grid, the finalists."""
        seeds = self.comparison_seeds(data)
        first = [(setting, seed) for setting in (PLAIN, RECIPE) for seed in seeds]
        self._measure(name, data, first + [(each, seed) for each in grid(data) for seed in screening_seeds(data)])
        self._measure(name, data, [(each, seed) for each in self.finalists(name, data) for seed in seeds])
        if (name, JOB, seeds[0]) not in self.cells:
            self._add(name, JOB, seeds[0], measure(data, RECIPE, seeds[0]))

    def finalists(self, name: str, data: DataSet) -> list[Setting]:
        """The best candidates of the grid on the seeds of the screening; those that are screened."""
        scores = {
            setting: statistics.fmean(cell.figure for cell in found)
            for setting in grid(data)
            if (found := self.cells.of(name, setting.name, screening_seeds(data)))
        }
        return sorted(scores, key=lambda setting: scores[setting], reverse=not data.is_error)[
            : data.screening.finalists
        ]

    def run_few_labels(self, name: str, case: FewLabels) -> None:
        """Teacher, student and control where few rows are labelled."""
        for seed in few_labels.SEEDS:
            if (name, "student", seed) not in self.cells:
                for party, figure in few_labels.measure(case, seed).items():
                    self._add(name, party, seed, Measured(figure, 0, 0.0))

    def _measure(self, name: str, data: DataSet, wanted: Sequence[Wanted]) -> None:
        missing = [(setting, seed) for setting, seed in wanted if (name, setting.name, seed) not in self.cells]
        jobs = (((setting, seed), measure(data, setting, seed)) for setting, seed in missing)
        for (setting, seed), found in measured(data, missing) if data.is_stackable else jobs:
            self._add(name, setting.name, seed, found)

    def _add(self, name: str, setting: str, seed: int, found: Measured) -> None:
        seconds = round(found.seconds, 2)
        self.cells.add(Cell(name, setting, seed, found.figure, found.steps, seconds, self._commit, self._machine))
        self.say(f"{name:<16} {setting:<36} seed {seed:<4} {found.figure:8.4f}  {seconds:6.2f} s")
