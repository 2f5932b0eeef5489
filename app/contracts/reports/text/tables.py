"""Formats numbers and tables as text. Standard library only."""

from collections.abc import Sequence

DASH = "-"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A text table: the first column is left-aligned, the others are right-aligned."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def count(value: int | None) -> str:
    """An integer with thousands separators; `-` for None."""
    return DASH if value is None else f"{value:,}"


def figure(value: float | None) -> str:
    """A number with four significant digits; `-` for None."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 2 else f"{value:.4g}"


def signed(value: float | None) -> str:
    """A difference with its sign; `-` for None."""
    return DASH if value is None else f"{value:+.4f}"


def percent(value: float | None) -> str:
    """A percentage with its sign; `-` for None."""
    return DASH if value is None else f"{value:+.2f} %"
