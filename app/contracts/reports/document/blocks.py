"""The parts of a report as people read it, whatever the format that shows them. Standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A sentence or a list of figures; `is_detail`: it explains the line before it."""

    text: str
    is_detail: bool = False


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column names the rows."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Chart:
    """A picture, for formats that show pictures; what it says is in tables and lines as well."""

    title: str
    svg: str


Block = Line | Table | Chart


@dataclass(frozen=True)
class Section:
    """Blocks with a title; `is_plain`: text is clear without the title, as of the table of costs."""

    title: str
    blocks: tuple[Block, ...]
    is_plain: bool = False
    task: str | None = None
    """The task that it is of."""
