"""The relation of a job's tasks as text: who teaches whom, and whose gradients conflict."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.contracts.reports.text.tables import DASH, figure, table

_MOST_TASKS = 12


def relation_text(relation: Mapping[str, Any] | None) -> str:
    """Empty where there is none, or where a table would be too wide to read."""
    if not relation or not 1 < len(relation["tasks"]) <= _MOST_TASKS:
        return ""
    parts = []
    if relation["source"] != "none":
        acted = f", by {relation['apply']}" if relation.get("apply") else ""
        parts.append(_square(relation, "matrix", f"R ({relation['source']}{acted}): rows are taught by columns"))
    if relation.get("cosine"):
        parts.append(_square(relation, "cosine", f"mean cosine of the tasks' gradients, {relation['measured']} looks"))
        parts.append(_square(relation, "conflicts", "share of the looks with a negative cosine"))
    if relation.get("grouping"):
        groups = "; ".join(", ".join(group) for group in relation["grouping"]["groups"])
        parts.append(f"groups that teach each other: {groups}")
    return "\n\n".join(parts)


def _square(relation: Mapping[str, Any], name: str, title: str) -> str:
    names: Sequence[str] = relation["tasks"]
    rows = [
        [task, *(DASH if i == j and name == "conflicts" else figure(value) for j, value in enumerate(row))]
        for i, (task, row) in enumerate(zip(names, relation[name], strict=True))
    ]
    return f"{title}\n{table(['', *names], rows)}"
