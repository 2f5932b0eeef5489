"""The report of the export of a quantized file: what it loses. Standard library only."""

from collections.abc import Mapping
from typing import Any

from app.contracts.reports.confidence import level_text
from app.contracts.reports.document.blocks import Line, Section, Table
from app.contracts.reports.document.numbers import figure, size


def export_headline(report: Mapping[str, Any]) -> str:
    """What was written, and how much smaller it is."""
    party = report["party"]
    loss = "; ".join(_loss(name, each) for name, each in party.get("verdict", {}).items())
    smaller = f"{100 * party['ratio']:.0f} % of the size of the file in float32"
    return f"The model in {party['format']} ({party['method']}) has {smaller}{f': {loss}' if loss else ''}."


def _loss(task: str, verdict: Mapping[str, Any]) -> str:
    interval = verdict.get("interval")
    sure = (
        f", {level_text(verdict.get('confidence'))} interval {interval[0]:+.4f} to {interval[1]:+.4f}"
        if interval
        else ""
    )
    difference = verdict.get("difference")
    return f"{task} {verdict['verdict']}{f' ({difference:+.4f}{sure})' if difference is not None else ''}"


def export_sections(report: Mapping[str, Any]) -> list[Section]:
    """Metrics of the file on the test split, and what was not measured."""
    party = report["party"]
    tasks: Mapping[str, Mapping[str, Any]] = party.get("tasks", {})
    rows = tuple((task, name, figure(value)) for task, metrics in tasks.items() for name, value in metrics.items())
    notes = [Line(f"not measured, {what}: {why}") for what, why in report.get("not_measured", {}).items()]
    found = [
        Section("Size", (Line(size(party.get("bytes"))),)),
        Section("Metrics on test rows", (Table(("task", "metric", "value"), rows),) if rows else ()),
        Section("Notes", tuple(notes)),
    ]
    return [each for each in found if each.blocks]
