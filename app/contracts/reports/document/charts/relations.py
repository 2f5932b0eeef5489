"""Square matrices of tasks as heat maps."""

from collections.abc import Sequence
from html import escape
from math import isfinite

from app.contracts.reports.document.blocks import Chart
from app.contracts.reports.document.charts.svg import picture
from app.contracts.reports.document.numbers import figure

_CELL, _NAMES = 46, 96


def heat_map(title: str, tasks: Sequence[str], matrix: Sequence[Sequence[float | None]]) -> Chart:
    """Rows are helped by columns; blue is positive, red negative, the stronger the farther from 0."""
    largest = max((abs(value) for row in matrix for value in row if value is not None), default=1.0) or 1.0
    parts = []
    for i, row in enumerate(matrix):
        top = _CELL // 2 + i * _CELL
        parts.append(f'<text class="y" x="{_NAMES - 6}" y="{top + _CELL // 2 + 4}">{escape(tasks[i][:14])}</text>')
        for j, value in enumerate(row):
            left = _NAMES + j * _CELL
            parts.append(_cell(left, top, value, largest, f"{tasks[j]} on {tasks[i]}"))
    for j, task in enumerate(tasks):
        parts.append(f'<text class="x" x="{_NAMES + j * _CELL + _CELL // 2}" y="14">{escape(task[:7])}</text>')
    side = len(tasks) * _CELL
    return Chart(title, picture(title, _NAMES + side + 4, _CELL // 2 + side + 4, parts))


def _cell(left: int, top: int, value: float | None, largest: float, hint: str) -> str:
    if value is None or not isfinite(value):
        return f'<rect class="margin" x="{left}" y="{top}" width="{_CELL - 2}" height="{_CELL - 2}"/>'
    colour = "var(--c0)" if value >= 0.0 else "var(--bad)"
    strength = 0.08 + 0.72 * abs(value) / largest
    square = f'x="{left}" y="{top}" width="{_CELL - 2}" height="{_CELL - 2}"'
    rect = f'<rect {square} fill="{colour}" fill-opacity="{strength:.2f}"><title>{escape(hint)}</title></rect>'
    middle = f'x="{left + _CELL // 2 - 1}" y="{top + _CELL // 2 + 3}"'
    return f'{rect}<text class="x" {middle}>{figure(round(value, 2))}</text>'
