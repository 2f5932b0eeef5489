"""The comparison with single-task models. Standard library only."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.contracts.reports.document.blocks import Line, Section, Table
from app.contracts.reports.document.numbers import count, figure, percent, signed

_HEAD = ("", "metric", "student", "baseline", "interval", "delta m", "verdict", "parameters")


def baselines_sections(report: Mapping[str, Any] | None) -> list[Section]:
    """A line for each task, the mean, and the methods of the verdicts; empty without baselines."""
    if not report:
        return []
    tasks: Mapping[str, Mapping[str, Any]] = report.get("tasks", {})
    rows = [_row(name, task) for name, task in tasks.items()]
    rows.append(["mean", *[""] * 4, percent(report.get("delta_m")), "", ""])
    lines = [Line(f"delta m of {name}: {task['reason']}") for name, task in tasks.items() if task.get("reason")]
    lines += [Line(f"delta m, mean: {report['reason']}")] if report.get("reason") else []
    methods = dict.fromkeys(task["method"] for task in tasks.values() if task.get("difference") is not None)
    lines += [Line(str(method), is_detail=True) for method in methods]
    table = Table(_HEAD, tuple(map(tuple, rows)))
    return [Section("against single-task baselines (delta m: relative gain, positive is better)", (table, *lines))]


def _row(name: str, task: Mapping[str, Any]) -> list[str]:
    return [
        name,
        str(task.get("metric") or ""),
        figure(task.get("student")),
        figure(task.get("baseline")),
        _interval(task.get("interval")),
        percent(task.get("delta_m")),
        str(task["verdict"]),
        count(task.get("parameters")),
    ]


def _interval(interval: Sequence[float] | None) -> str:
    return f"{signed(interval[0])} to {signed(interval[1])}" if interval else ""
