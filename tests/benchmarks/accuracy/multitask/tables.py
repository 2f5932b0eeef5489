"""Reports of many jobs as Markdown tables."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.contracts.reports.baselines import BaselineReport
from app.contracts.reports.report import Report, Verdict
from tests.benchmarks.accuracy.multitask.catalogue import ALL_LABELS, COMBINED, FEW_LABELS, PLAIN, TASKS

BASELINES = "single-task baselines"
LEAST_GAIN = 4.0
"""Gain in points that is expected of teachers on unlabelled rows over labels alone."""


@dataclass(frozen=True)
class Line:
    """A line of a table: for each seed the mean accuracy over the tasks and Δm, both in percent."""

    name: str
    accuracy: Sequence[float]
    delta_m: Sequence[float]
    parameters: int | None
    verdicts: Mapping[str, Sequence[str]]

    def text(self) -> str:
        """As a row of Markdown."""
        verdicts = "; ".join(f"{task} {_counted(each)}" for task, each in self.verdicts.items())
        each = " ".join(f"{value:.1f}" for value in self.accuracy)
        size = f"{self.parameters:,}" if self.parameters is not None else ""
        return (
            f"| {self.name} | {size} | {_spread(self.accuracy)} | {each} | {_spread(self.delta_m, '+')} | {verdicts} |"
        )


HEAD = [
    "| method | parameters | mean % ± sd over seeds | each seed | Δm % ± sd | verdict against the baselines |",
    "|---|---|---|---|---|---|",
]


def section(name: str, found: Mapping[str, Sequence[Report]]) -> list[str]:
    """The lines of a section, from the reports of each method."""
    if name == ALL_LABELS:
        return _all_labels(found[COMBINED][0])
    lines = [_baselines(next(iter(found.values()))), *(_line(method, reports) for method, reports in found.items())]
    table = [*HEAD, *(line.text() for line in lines)]
    return [*table, "", _bar({line.name: line.accuracy for line in lines})] if name == FEW_LABELS else table


def _against(report: Report) -> BaselineReport:
    assert report.baselines is not None
    return report.baselines


def _line(method: str, reports: Sequence[Report]) -> Line:
    against = [_against(report) for report in reports]
    return Line(
        method,
        [100 * statistics.fmean(report.student.tasks[task]["accuracy"] or 0.0 for task in TASKS) for report in reports],
        [each.delta_m or 0.0 for each in against],
        reports[0].student.parameters,
        {task: [each.tasks[task].verdict for each in against] for task in TASKS},
    )


def _baselines(reports: Sequence[Report]) -> Line:
    against = [_against(report).tasks for report in reports]
    accuracy = [100 * statistics.fmean(tasks[task].baseline or 0.0 for task in TASKS) for tasks in against]
    return Line(BASELINES, accuracy, (), sum(against[0][task].parameters or 0 for task in TASKS), {})


def _bar(accuracy: Mapping[str, Sequence[float]]) -> str:
    """The least that the combination gains over each of the others, seed by seed."""
    least = {
        other: min(ours - theirs for ours, theirs in zip(accuracy[COMBINED], accuracy[other], strict=True))
        for other in (PLAIN, BASELINES)
    }
    gains = " and ".join(f"{points:+.1f} points above {other}" for other, points in least.items())
    met = "met" if least[PLAIN] >= LEAST_GAIN and least[BASELINES] > 0.0 else "missed"
    return f"The combination is at least {gains}, for every seed (expected: {LEAST_GAIN:.0f} and above 0: {met})."


def _all_labels(report: Report) -> list[str]:
    """The verdict of one job with a control for each seed."""
    lines = [
        "| task | labels alone % (each seed) | with its teacher % (each seed) | difference, 95 % interval | verdict | "
        "Δm % |",
        "|---|---|---|---|---|---|",
    ]
    for task in TASKS:
        verdict, against = report.verdict[task], _against(report).tasks[task]
        alone, distilled = (_each(one, many) for one, many in _sides(verdict))
        delta = f"{against.delta_m:+.2f}" if against.delta_m is not None else ""
        lines.append(f"| {task} | {alone} | {distilled} | {_difference(verdict)} | {verdict.verdict} | {delta} |")
    return lines


def _sides(verdict: Verdict) -> list[tuple[float | None, tuple[float, ...]]]:
    return [(verdict.control, verdict.controls), (verdict.student, verdict.students)]


def _each(mean: float | None, values: Sequence[float]) -> str:
    return f"{100 * (mean or 0.0):.2f} ({' '.join(f'{100 * value:.1f}' for value in values)})"


def _difference(verdict: Verdict) -> str:
    low, high = verdict.interval or (0.0, 0.0)
    return f"{100 * (verdict.difference or 0.0):+.2f}, {100 * low:+.2f} to {100 * high:+.2f}"


def _spread(values: Sequence[float], sign: str = "") -> str:
    if not values:
        return ""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):{sign}.2f} ± {deviation:.2f}"


def _counted(verdicts: Sequence[str]) -> str:
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    return ", ".join(f"{verdict} {count}x" if count > 1 else verdict for verdict, count in counts.items())
