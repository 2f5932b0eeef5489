"""The report of a preflight: what would fail, its teachers, stages, memory and time. Standard library only."""

from collections.abc import Mapping
from typing import Any

from app.contracts.reports.document.blocks import Line, Section, Table
from app.contracts.reports.document.numbers import DASH, count, figure, size

_MEMORY = ("rows", "teachers", "soft_targets", "parameters", "gradients", "optimizer", "best", "activations", "total")
_SECONDS = ("loading", "teaching", "teaching_by_epoch", "step", "validation", "training", "total")


def preflight_headline(report: Mapping[str, Any]) -> str:
    """Whether the job would run, and what it would cost."""
    failures = report.get("would_fail", ())
    if failures:
        more = f", and {len(failures) - 1} more problems" if len(failures) > 1 else ""
        return f"The job would fail: {failures[0]['message']}{more}."
    seconds, memory = report["seconds"].get("total"), report["memory"].get("total")
    time = f" in about {_duration(seconds)}" if seconds is not None else ""
    space = f", with about {size(memory)} of memory" if memory is not None else ""
    return f"The job would run{time}{space}: {count(report.get('steps'))} optimizer steps. Nothing was trained."


def preflight_sections(report: Mapping[str, Any]) -> list[Section]:
    """A section for each part that the report has."""
    failures = tuple(Line(f"{each['code']}: {each['message']}") for each in report.get("would_fail", ()))
    stages = tuple(
        (
            each["name"],
            ", ".join(each["members"]),
            count(each["runs"]),
            count(each["steps"]),
            _duration(each["seconds"]),
        )
        for each in report.get("stages", ())
    )
    teachers = tuple(
        (str(each["name"]), str(each["task"]), count(each.get("rows")), figure(each.get("accuracy")), _state(each))
        for each in report.get("teachers", ())
    )
    memory = tuple((name.replace("_", " "), size(report["memory"].get(name))) for name in _MEMORY)
    seconds = tuple((name.replace("_", " "), _duration(report["seconds"].get(name))) for name in _SECONDS)
    warnings = tuple(Line(f"{each.get('code')}: {each.get('message')}") for each in report.get("warnings", ()))
    found = [
        Section("What would fail", failures),
        Section("Teachers", (Table(("teacher", "task", "rows", "accuracy", "state"), teachers),) if teachers else ()),
        Section("Stages", (Table(("stage", "networks", "runs", "steps", "time"), stages),) if stages else ()),
        Section("Memory", (Table(("", "size"), memory),)),
        Section("Time", (Table(("", "time"), seconds),)),
        Section("Warnings", warnings),
    ]
    return [each for each in found if each.blocks]


def _state(teacher: Mapping[str, Any]) -> str:
    if teacher.get("problem"):
        return str(teacher["problem"])
    return "no better than chance" if teacher.get("at_chance") else "usable"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return DASH
    if seconds < 1.0:
        return f"{1e3 * seconds:.3g} ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"
