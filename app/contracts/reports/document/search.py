"""A search: the candidates with their scores, and what decided."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.contracts.reports.document.blocks import Line, Section, Table
from app.contracts.reports.document.numbers import figure

_DECIDED = {
    "loss": "decided by the loss {}",
    "values": "equal in the loss {} too, and decided by the smallest values",
}


def search_sections(search: Mapping[str, Any] | None) -> list[Section]:
    """The candidates as a table, the chosen one marked, and a sentence where several have the best score."""
    if not search:
        return []
    trials: Sequence[Mapping[str, Any]] = search["trials"]
    measure, loss = search.get("measure"), search.get("loss_measure")
    names = list(trials[0]["values"])
    head = (
        "candidate",
        *(_short(name, names) for name in names),
        f"score ({measure})" if measure else "score",
        *([f"loss ({loss})"] if loss else []),
    )
    rows = [
        (
            f"{i}, chosen" if i == search["chosen"] else str(i),
            *(figure(trial["values"][name]) for name in names),
            figure(trial["score"]),
            *([figure(trial.get("loss"))] if loss else []),
        )
        for i, trial in enumerate(trials)
    ]
    blocks: list[Line | Table] = [Table(head, tuple(rows)), *_tied(search, len(trials))]
    return [Section(f"search{_rows(search)}", tuple(blocks))]


def _rows(search: Mapping[str, Any]) -> str:
    folds = f" of {search['folds']} folds" if search.get("folds") else ""
    return f" on {search['rows']:,} validation rows{folds}" if search.get("rows") is not None else ""


def _short(pointer: str, pointers: Sequence[str]) -> str:
    """The last part of a pointer; the whole where another ends in the same."""
    last = pointer.rsplit("/", 1)[-1]
    return last if sum(each.rsplit("/", 1)[-1] == last for each in pointers) == 1 else pointer


def _tied(search: Mapping[str, Any], count: int) -> list[Line]:
    tied = search.get("tied", 1)
    if tied < 2:
        return []
    decided = _DECIDED[search["decided_by"]].format(f"({search.get('loss_measure')})")
    return [Line(f"tied: {tied} of {count} candidates{_rows(search)}; {decided}")]
