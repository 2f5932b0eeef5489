"""Writes a report as Markdown, with the tables of GitHub's dialect. Standard library only."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from app.contracts.reports.document.blocks import Block, Chart, Line, Section, Table
from app.contracts.reports.document.headline import headline
from app.contracts.reports.document.sections import sections

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def markdown(report: Mapping[str, Any], title: str) -> str:
    """The report with a title, which is plain text as all words of users are."""
    parts = [f"# {_escaped(title)}", _escaped(headline(report)), *_sections(sections(report))]
    return "\n\n".join(parts) + "\n"


def _sections(found: Iterable[Section]) -> Iterable[str]:
    for section in found:
        yield f"## {_escaped(section.title[:1].upper() + section.title[1:])}"
        yield from (text for each in section.blocks if (text := _block(each)))


def _block(block: Block) -> str:
    match block:
        case Line(text=text, is_detail=True):
            return f"*{_escaped(text)}*"
        case Line(text=text):
            return f"- {_escaped(text)}"
        case Table(head=head, rows=rows):
            rule = ["---", *["---:"] * (len(head) - 1)]
            return "\n".join(f"| {' | '.join(cells)} |" for cells in (_cells(head), rule, *map(_cells, rows)))
        case Chart():
            return ""
        case _:
            assert_never(block)


def _cells(texts: Iterable[str]) -> list[str]:
    return [_escaped(each) for each in texts]


def _escaped(text: str) -> str:
    """Words of users as they are: nothing in them is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
