"""Renders the comparison with single-task models as text. Standard library only."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from app.contracts.reports.text.tables import count, figure, percent, signed, table

_WIDTH = 110
_HEAD = ("", "metric", "student", "baseline", "interval", "delta m", "verdict", "parameters")


def baselines_text(report: Mapping[str, Any] | None) -> str:
    """A line for each task, the mean, and the methods of the verdicts; empty without baselines."""
    if not report:
        return ""
    tasks: Mapping[str, Mapping[str, Any]] = report.get("tasks", {})
    rows = [_row(name, task) for name, task in tasks.items()]
    rows.append(["mean", *[""] * 4, percent(report.get("delta_m")), "", ""])
    lines = ["against single-task baselines (delta m: relative gain, positive is better)", table(_HEAD, rows)]
    lines += [f"delta m of {name}: {task['reason']}" for name, task in tasks.items() if task.get("reason")]
    lines += [f"delta m, mean: {report['reason']}"] if report.get("reason") else []
    for method in dict.fromkeys(task["method"] for task in tasks.values() if task.get("difference") is not None):
        lines += textwrap.wrap(str(method), _WIDTH, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


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
