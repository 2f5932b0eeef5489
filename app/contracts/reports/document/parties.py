"""The parties of a report: teachers, student, control and baselines. Standard library only."""

from collections.abc import Mapping
from typing import Any


def parties_of(report: Mapping[str, Any], task: str | None = None) -> list[tuple[str, Mapping[str, Any]]]:
    """(heading, party): teachers (of one task, or all of them once), student, control, baseline of the task."""
    teachers: dict[str, Mapping[str, Any]] = {}
    for party in report.get("teachers", ()):
        if task is None or party.get("task") == task:
            teachers.setdefault(_identity(party), party)
    parties = [(heading_of_teacher(party), party) for party in teachers.values()]
    parties.append(("student", report["student"]))
    if report.get("control"):
        parties.append(("control", report["control"]))
    baseline = (report.get("baselines") or {}).get("tasks", {}).get(task, {})
    if baseline.get("quality"):
        parties.append(("baseline", {"tasks": {task: baseline["quality"]}}))
    return parties


def _identity(party: Mapping[str, Any]) -> str:
    return str(party.get("model") or party.get("digest") or party.get("name"))


def heading_of_teacher(party: Mapping[str, Any]) -> str:
    """What a column of a teacher is called."""
    return f"teacher {party['name']}" if party.get("name") else "teacher"
