"""Writes a report as text, as a terminal shows it. Standard library only."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from app.contracts.reports.document.blocks import Block, Chart, Line, Section, Table
from app.contracts.reports.document.headline import headline
from app.contracts.reports.document.sections import sections

_WIDTH = 110


def render(report: Mapping[str, Any]) -> str:
    """The JSON of `GET /v1/jobs/{id}/report` as tables and a few sentences, the most important one first."""
    first = "\n".join(textwrap.wrap(headline(report), _WIDTH))
    return written([first, *map(_section, sections(report))])


def written(parts: Iterable[str]) -> str:
    """Parts with a line between them."""
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section) -> str:
    lines = [] if section.is_plain else [section.title]
    return "\n".join([*lines, *(text for each in section.blocks if (text := _block(each)))])


def _block(block: Block) -> str:
    match block:
        case Line(text=text, is_detail=True):
            return textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")
        case Line(text=text):
            return text
        case Table():
            return _table(block)
        case Chart():
            return ""
        case _:
            assert_never(block)


def _table(table: Table) -> str:
    """The first column is left-aligned, the others are right-aligned."""
    every = (table.head, *table.rows)
    widths = [max(len(row[i]) for row in every) for i in range(len(table.head))]
    lines = []
    for first, *others in every:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)
