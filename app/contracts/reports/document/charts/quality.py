"""How good the parties are: bars of a metric, and the difference between student and control with its interval."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from app.contracts.reports.document.blocks import Chart
from app.contracts.reports.document.charts.colours import colour_of
from app.contracts.reports.document.charts.svg import WIDTH, Axis, Plot, number, picture
from app.contracts.reports.document.numbers import figure

_ROW, _NAMES, _VALUES = 24, 140, 70


def bars(task: str, metric: str, parties: Sequence[tuple[str, float | None]]) -> Chart | None:
    """A bar for each party that has the metric; None where none has."""
    known = [(name, value) for name, value in parties if value is not None]
    if not known or min(value for _, value in known) < 0.0:
        return None
    most = max(value for _, value in known) or 1.0
    axis = Axis(0.0, most, 0.0, WIDTH - _NAMES - _VALUES)
    parts = []
    for place, (name, value) in enumerate(known):
        top, colour = place * _ROW, colour_of(name, place)
        parts.append(f'<text x="0" y="{top + 16}">{escape(name[:24])}</text>')
        length = number(axis.at(value))
        parts.append(f'<rect x="{_NAMES}" y="{top + 4}" width="{length}" height="15" fill="var(--c{colour})"/>')
        parts.append(f'<text x="{number(_NAMES + axis.at(value) + 5)}" y="{top + 16}">{figure(value)}</text>')
    label = f"{metric} of {task}: " + ", ".join(f"{name} {figure(value)}" for name, value in known)
    return Chart(f"{metric} on test rows", picture(label, WIDTH, len(known) * _ROW + 4, parts))


def difference(task: str, verdict: Mapping[str, Any]) -> Chart | None:
    """The difference of the student to the control with its interval, beside no difference and the margin."""
    interval, margin = verdict.get("interval"), verdict.get("margin") or 0.0
    if interval is None or verdict.get("difference") is None:
        return None
    low, high = interval
    plot = Plot.of(f"difference to the control of {task}", [low, high, -margin, margin, 0.0], [0.0, 1.0], height=110)
    left, right = plot.x.at(-margin), plot.x.at(margin)
    parts = [
        f'<rect class="margin" x="{number(left)}" y="12" width="{number(right - left)}" height="60"/>',
        f'<path class="axis" d="M{number(plot.x.at(0.0))} 12V72"/>',
    ]
    plot.whisker(low, high, 0.5, colour_of("student"))
    plot.dot(verdict["difference"], 0.5, colour_of("student"), f"{verdict['difference']:+.4f}", radius=5)
    ticks = (
        f'<text class="x" x="{number(plot.x.at(each))}" y="88">{f"{each:+.3g}" if each else 0}</text>'
        for each in plot.x.ticks()
    )
    meaning = f"{verdict.get('metric')}, positive: the student is better"
    name = f'<text class="name" x="{WIDTH / 2:.0f}" y="106">{escape(meaning)}</text>'
    label = f"difference {verdict['difference']:+.4f}, interval {low:+.4f} to {high:+.4f}"
    return Chart("Student against control", picture(label, WIDTH, 112, [*parts, *plot.marks, *ticks, name]))
