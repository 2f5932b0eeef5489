"""Axes, marks and words of a chart as SVG. Colours are CSS variables, which the document sets for light and dark."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, isfinite, log10
from typing import Final

WIDTH: Final = 460
HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 38
_MOST_TICKS: Final = 6
_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
COLOURS: Final = 6
"""The document has variables `--c0` to `--c5`."""


def number(value: float) -> str:
    """A coordinate, short."""
    return f"{value:.1f}".removesuffix(".0")


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` along so many pixels; `is_log`: by their logarithm, for positive ones."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    @classmethod
    def of(cls, values: Iterable[float], start: float, end: float, *, is_log: bool = False) -> "Axis":
        """The axis that shows these values with some room; one of 0 to 1 where there are none."""
        finite = [each for each in values if isfinite(each) and (each > 0.0 or not is_log)]
        low, high = (min(finite), max(finite)) if finite else (0.1 if is_log else 0.0, 1.0)
        if is_log:
            return cls(low / 1.25, high * 1.25, start, end, is_log)
        room = 0.05 * (high - low) or abs(high) * 0.1 or 1.0
        return cls(low - room, high + room, start, end)

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (log10(each) if self.is_log else each for each in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values on the axis, few."""
        if self.is_log:
            powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            found = [10.0**power for power in powers if self.low <= 10.0**power <= self.high]
            return found if len(found) > 1 else [self.low * 1.25, self.high / 1.25]
        rough = (self.high - self.low) / _MOST_TICKS
        power = 10.0 ** floor(log10(rough))
        step = next(power * each for each in _STEPS if power * each >= rough)
        first = ceil(self.low / step)
        return [step * i for i in range(first, floor(self.high / step) + 1)]


@dataclass
class Plot:
    """A chart of two axes, whose marks are added one after another."""

    x: Axis
    y: Axis
    label: str
    """What the chart shows, for screen readers."""
    marks: list[str] = field(default_factory=list)
    names: list[tuple[str, int]] = field(default_factory=list)
    """The legend: name and number of the colour."""

    @classmethod
    def of(
        cls, label: str, xs: Iterable[float], ys: Iterable[float], *, log_x: bool = False, height: float = HEIGHT
    ) -> "Plot":
        """A plot that shows these values."""
        x = Axis.of(xs, _LEFT, WIDTH - _RIGHT, is_log=log_x)
        return cls(x, Axis.of(ys, height - _BOTTOM, _TOP), label)

    def line(
        self,
        points: Sequence[tuple[float, float | None]],
        colour: int,
        *,
        dashed: bool = False,
        is_faint: bool = False,
    ) -> None:
        """A line through points; one without a value interrupts it."""
        path, pen = [], "M"
        for x, y in points:
            if y is None or not isfinite(y):
                pen = "M"
                continue
            path.append(f"{pen}{number(self.x.at(x))} {number(self.y.at(y))}")
            pen = "L"
        looks = (' stroke-dasharray="4 3"' if dashed else "") + (' stroke-opacity=".4"' if is_faint else "")
        if len(path) == 1:
            self.dot(*next((x, y) for x, y in points if y is not None), colour)
        elif path:
            self.marks.append(
                f'<path d="{"".join(path)}" fill="none" stroke="var(--c{colour})" stroke-width="1.6"{looks}/>'
            )

    def dot(self, x: float, y: float, colour: int, title: str = "", radius: float = 3.5) -> None:
        """A dot; `title` is shown while the pointer is over it."""
        hint = f"<title>{escape(title)}</title>" if title else ""
        place = f'cx="{number(self.x.at(x))}" cy="{number(self.y.at(y))}"'
        self.marks.append(f'<circle {place} r="{radius}" fill="var(--c{colour})">{hint}</circle>')

    def whisker(self, low: float, high: float, y: float, colour: int) -> None:
        """A horizontal interval."""
        place = number(self.y.at(y))
        ends = number(self.x.at(low)), number(self.x.at(high))
        self.marks.append(
            f'<path d="M{ends[0]} {place}H{ends[1]}" stroke="var(--c{colour})" stroke-width="2" fill="none"/>'
        )

    def words(self, x: float, y: float, text: str) -> None:
        """A text that begins at a place."""
        place = f'x="{number(self.x.at(x) + 6)}" y="{number(self.y.at(y) + 4)}"'
        self.marks.append(f"<text {place}>{escape(text)}</text>")

    def svg(self, x_name: str, y_name: str, height: float = HEIGHT) -> str:
        """The chart with axes and legend."""
        bottom, right = height - _BOTTOM, WIDTH - _RIGHT
        middle = f"translate(11 {number((bottom + _TOP) / 2)}) rotate(-90)"
        parts = [
            *(_x_tick(self.x, each, bottom) for each in self.x.ticks()),
            *(_y_tick(self.y, each, right) for each in self.y.ticks()),
            f'<path class="axis" d="M{_LEFT} {_TOP}V{number(bottom)}H{right}"/>',
            *self.marks,
            f'<text class="name" x="{(_LEFT + right) / 2:.0f}" y="{number(height - 4)}">{escape(x_name)}</text>',
            f'<text class="name" transform="{middle}">{escape(y_name)}</text>',
        ]
        drawing = picture(self.label, WIDTH, height, parts)
        return drawing + _legend(self.names)


def picture(label: str, width: float, height: float, parts: Iterable[str]) -> str:
    """An SVG element of these parts, which grows with the page up to its size."""
    size = f'viewBox="0 0 {number(width)} {number(height)}" style="max-width:{number(width)}px"'
    return f'<svg role="img" aria-label="{escape(label)}" {size}>{"".join(parts)}</svg>'


def _x_tick(axis: Axis, value: float, bottom: float) -> str:
    place = number(axis.at(value))
    text = f'<text class="x" x="{place}" y="{number(bottom + 14)}">{tick_text(value)}</text>'
    return f'<path class="grid" d="M{place} {_TOP}V{number(bottom)}"/>{text}'


def _y_tick(axis: Axis, value: float, right: float) -> str:
    place = number(axis.at(value))
    text = f'<text class="y" x="{_LEFT - 5}" y="{number(axis.at(value) + 3.5)}">{tick_text(value)}</text>'
    return f'<path class="grid" d="M{_LEFT} {place}H{right}"/>{text}'


def tick_text(value: float) -> str:
    """A value of an axis, short: `250k` for 250,000."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:.3g}"


def _legend(names: Sequence[tuple[str, int]]) -> str:
    if not names:
        return ""
    entries = (f'<span><i style="background:var(--c{colour})"></i>{escape(name)}</span>' for name, colour in names)
    return f'<div class="legend">{"".join(entries)}</div>'
