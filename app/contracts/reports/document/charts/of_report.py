"""The charts of a report: of each task, of the relation, of a search."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from app.contracts.reports.document.blocks import Chart
from app.contracts.reports.document.charts.confidence import reliability
from app.contracts.reports.document.charts.damage import robustness
from app.contracts.reports.document.charts.quality import bars, difference
from app.contracts.reports.document.charts.relations import heat_map
from app.contracts.reports.document.charts.siblings import Sibling, pareto
from app.contracts.reports.document.charts.svg import Plot
from app.contracts.reports.document.headline import main_metric
from app.contracts.reports.document.parties import parties_of
from app.contracts.specs.supervision.metrics import DIRECTIONS

_MOST_TASKS = 12


def of_task(report: Mapping[str, Any], task: str, others: Sequence[Sibling] = ()) -> list[Chart]:
    """Quality, difference, size, confidence, robustness. `others`: students of other jobs on the same test rows."""
    verdict = report.get("verdict", {}).get(task) or {}
    metric = verdict.get("metric") or main_metric(report["student"].get("tasks", {}).get(task, {}))
    found: list[Chart | None] = []
    if metric is not None:
        parties = [(name, party.get("tasks", {}).get(task, {}).get(metric)) for name, party in parties_of(report, task)]
        parties += [(f"{group[:-1]}, mean of {len(values)}", fmean(values)) for group, values in _seeds(verdict)]
        found += [bars(task, metric, parties), difference(task, verdict), _sizes(report, task, metric, others)]
    found.append(reliability(task, report.get("reliability", {}).get(task, {})))
    return [each for each in found if each is not None] + robustness(report.get("robustness", {}).get(task, ()))


def _seeds(verdict: Mapping[str, Any]) -> list[tuple[str, Sequence[float]]]:
    """The metric of the students, and of the controls, that the verdict is of, where there are several."""
    groups = ((group, verdict.get(group) or ()) for group in ("students", "controls"))
    return [(group, values) for group, values in groups if len(values) > 1]


def _sizes(report: Mapping[str, Any], task: str, metric: str, others: Sequence[Sibling]) -> Chart | None:
    networks = [
        Sibling(name, party["parameters"], value)
        for name, party in parties_of(report, task)
        if party.get("parameters") and (value := party.get("tasks", {}).get(task, {}).get(metric)) is not None
    ]
    lower = any(name == metric and direction == "lower" for name, direction in DIRECTIONS.items())
    return pareto(task, metric, [*networks, *others], lower_is_better=lower)


def of_relation(relation: Mapping[str, Any] | None) -> list[Chart]:
    """Heat maps of R, of the cosines of the tasks' gradients, and of the shares of conflicts."""
    if not relation or not 1 < len(relation["tasks"]) <= _MOST_TASKS:
        return []
    titles = {"matrix": "R", "cosine": "mean cosine of gradients", "conflicts": "share of conflicts"}
    return [heat_map(title, relation["tasks"], relation[name]) for name, title in titles.items() if relation.get(name)]


def of_search(search: Mapping[str, Any] | None) -> list[Chart]:
    """The score by the value, where one number is searched."""
    trials: Sequence[Mapping[str, Any]] = (search or {}).get("trials", ())
    pointers = list(trials[0]["values"]) if trials else []
    if search is None or len(pointers) != 1 or len(trials) < 2:
        return []
    points = sorted((trial["values"][pointers[0]], trial["score"]) for trial in trials if trial["score"] is not None)
    if len(points) < 2 or not all(isinstance(value, int | float) for value, _ in points):
        return []
    name = pointers[0].rsplit("/", 1)[-1]
    is_log = points[0][0] > 0.0 and points[-1][0] / points[0][0] > 20.0
    plot = Plot.of(f"score by {name}", [x for x, _ in points], [y for _, y in points], log_x=is_log)
    plot.line(points, 0)
    for x, y in points:
        plot.dot(x, y, 0, f"{name} {x:g}: {y:.4g}")
    chosen = trials[search["chosen"]]
    plot.dot(chosen["values"][pointers[0]], chosen["score"], 1, "chosen", 5.0)
    plot.names += [("candidates", 0), ("chosen", 1)]
    return [Chart("Search", plot.svg(name, search.get("measure") or "score"))]
