"""The task relation of a job: R, cosines and conflicts of the gradients, proposed groups."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.contracts.reports.document.blocks import Line, Section, Table
from app.contracts.reports.document.numbers import DASH, figure

_MAX_TASKS = 12


def relation_sections(relation: Mapping[str, Any] | None) -> list[Section]:
    """The relation as tables; empty without one, or with too many tasks for a table."""
    if not relation or not 1 < len(relation["tasks"]) <= _MAX_TASKS:
        return []
    parts = []
    if relation["source"] != "none":
        applied = f", by {relation['apply']}" if relation.get("apply") else ""
        parts.append(_square(relation, "matrix", f"R ({relation['source']}{applied}): column tasks help row tasks"))
    if relation.get("cosine"):
        parts.append(
            _square(relation, "cosine", f"mean cosine of the tasks' gradients, {relation['measured']} measurements")
        )
        parts.append(_square(relation, "conflicts", "share of the measurements with a negative cosine"))
    if relation.get("grouping"):
        groups = "; ".join(", ".join(group) for group in relation["grouping"]["groups"])
        line = Line(f"groups of tasks that help each other: {groups}")
        parts.append(Section("Groups of tasks", (line,), is_plain=True))
    return parts


def _square(relation: Mapping[str, Any], name: str, title: str) -> Section:
    names: Sequence[str] = relation["tasks"]
    rows = [
        (task, *(DASH if i == j and name == "conflicts" else figure(value) for j, value in enumerate(row)))
        for i, (task, row) in enumerate(zip(names, relation[name], strict=True))
    ]
    return Section(title, (Table(("", *names), tuple(rows)),))
