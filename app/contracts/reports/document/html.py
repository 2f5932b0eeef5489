"""Writes a report as one HTML page that needs nothing else: no script, no other host. Standard library only."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final, assert_never

from app.contracts.reports.document.blocks import Block, Chart, Line, Section, Table
from app.contracts.reports.document.charts.curves import Points, curves
from app.contracts.reports.document.charts.of_report import of_relation, of_search, of_task
from app.contracts.reports.document.charts.siblings import Sibling
from app.contracts.reports.document.headline import headline
from app.contracts.reports.document.sections import sections
from app.contracts.reports.document.style import STYLE

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy with which the page is sent: it loads nothing and runs nothing."""
MOST_BYTES: Final = 400_000
_FRAME = 8_000
"""Bytes of style, title and headline."""


def page(
    report: Mapping[str, Any],
    title: str,
    about: str = "",
    series: Mapping[str, Points] | None = None,
    others: Mapping[str, Sequence[Sibling]] | None = None,
) -> str:
    """The page. `about`: a line below the title; `series`: the points of the job's metrics; `others`: by task the
    students of other jobs on the same test rows.
    """
    room = _Room(MOST_BYTES - sum(len(_section(each, ()).encode()) for each in sections(report)))
    parts = [f'<p class="headline">{escape(headline(report))}</p>']
    for section in sections(report):
        charts = of_task(report, section.task, (others or {}).get(section.task, ())) if section.task else []
        parts.append(_section(section, room.fitting(charts)))
    pictures = {
        "Relation of the tasks": of_relation(report.get("relation")),
        "Search": of_search(report.get("search")),
        "Training": curves(series or {}),
    }
    parts += [
        _section(Section(name, ()), fitting) for name, each in pictures.items() if (fitting := room.fitting(each))
    ]
    if room.left_out:
        parts.append(_block(Line(f"{room.left_out} charts are left out: a page has at most {MOST_BYTES // 1000} kB.")))
    return document(title, about, parts)


class _Room:
    """What charts may take of a page beside its tables."""

    def __init__(self, most: int) -> None:
        self._bytes = most - _FRAME
        self.left_out = 0

    def fitting(self, charts: Sequence[Chart]) -> list[Chart]:
        """The first ones that fit."""
        found = []
        for chart in charts:
            self._bytes -= len(_block(chart).encode())
            if self._bytes < 0:
                self.left_out += 1
            else:
                found.append(chart)
        return found


def document(title: str, about: str, parts: Iterable[str]) -> str:
    """A page of these parts, which are HTML."""
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style>"
    )
    body = f'<h1>{escape(title)}</h1><p class="about">{escape(about)}</p>{"".join(parts)}'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><main>{body}</main></body></html>\n'


def _section(section: Section, charts: Sequence[Chart]) -> str:
    title = escape(section.title[:1].upper() + section.title[1:])
    pictures = f'<div class="charts">{"".join(map(_block, charts))}</div>' if charts else ""
    return f"<section><h2>{title}</h2>{pictures}{''.join(map(_block, section.blocks))}</section>"


def _block(block: Block) -> str:
    match block:
        case Line(text=text, is_detail=is_detail):
            return f'<p class="{"detail" if is_detail else "line"}">{escape(text)}</p>'
        case Table(head=head, rows=rows):
            cells = "".join(f'<th scope="col">{escape(each)}</th>' for each in head)
            lines = "".join(f"<tr>{_cells(row)}</tr>" for row in rows)
            table = f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"
            return f'<div class="scroll">{table}</div>'
        case Chart(title=title, svg=svg):
            return f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>"
        case _:
            assert_never(block)


def _cells(texts: Sequence[str]) -> str:
    return "".join(f"<td>{escape(each)}</td>" for each in texts)
