"""Curves of training: loss, validation metrics, learning rate and others, a line for each party."""

from collections.abc import Mapping, Sequence
from typing import Final

from app.contracts.reports.document.blocks import Chart
from app.contracts.reports.document.charts.colours import colour_of
from app.contracts.reports.document.charts.svg import Plot

Points = Sequence[tuple[int, float | None]]
"""(step, value), by step."""
_MOST_CHARTS: Final = 12
_MOST_LINES: Final = 6
_KINDS: Final = ("train/", "validation/")


def curves(series: Mapping[str, Points]) -> list[Chart]:
    """A chart for each measure, with the lines of student and control, those of further seeds faint; the first few."""
    by_measure: dict[str, dict[str, Points]] = {}
    for name, points in series.items():
        party, measure = _divided(name)
        if len(points) > 1:
            by_measure.setdefault(measure, {})[party] = points
    ordered = sorted(by_measure.items(), key=lambda each: _rank(each[0]))
    return [_chart(measure, lines) for measure, lines in ordered[:_MOST_CHARTS]]


def _divided(name: str) -> tuple[str, str]:
    """`control/train/loss` -> (`control`, `train/loss`); what has no party is the student's."""
    places = [place for kind in _KINDS if (place := name.find(kind)) >= 0]
    first = min(places, default=0)
    return name[:first].rstrip("/") or "student", name[first:]


def _rank(measure: str) -> tuple[int, str]:
    order = ("validation/loss", "validation/", "train/loss", "train/")
    return next((i for i, each in enumerate(order) if measure.startswith(each)), len(order)), measure


def _chart(measure: str, lines: Mapping[str, Points]) -> Chart:
    shown = sorted(lines.items(), key=lambda each: (each[0] != "student", each[0] != "control", each[0]))[:_MOST_LINES]
    values = [value for _, points in shown for _, value in points if value is not None]
    plot = Plot.of(f"{measure} by step", [step for _, points in shown for step, _ in points], values)
    for party, points in shown:
        role = "control" if party.endswith("control") else "student" if party.startswith("repeat-") else party
        plot.line(points, colour_of(role), dashed=role == "control", is_faint=role != party)
    plot.names += [(party, colour_of(party)) for party, _ in shown if not party.startswith("repeat-")]
    return Chart(measure, plot.svg("step", ""))
