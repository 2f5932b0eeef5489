"""What corrupted rows cost: a metric by the severity of each corruption."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.contracts.reports.document.blocks import Chart
from app.contracts.reports.document.charts.colours import colour_of
from app.contracts.reports.document.charts.svg import Plot


def robustness(entries: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """A chart for each corruption, a line for each party."""
    return [_chart(name, entries) for name in dict.fromkeys(each["corruption"] for each in entries)]


def _chart(corruption: str, entries: Sequence[Mapping[str, Any]]) -> Chart:
    of_it = sorted(
        (each for each in entries if each["corruption"] == corruption), key=lambda each: int(each["severity"])
    )
    parties = list(dict.fromkeys(party for each in of_it for party in each.get("parties", {})))
    lines = {party: [(each["severity"], each["parties"].get(party)) for each in of_it] for party in parties}
    values = [value for points in lines.values() for _, value in points if value is not None]
    plot = Plot.of(f"{corruption} by severity", [each["severity"] for each in of_it], values, height=200)
    for place, (party, points) in enumerate(lines.items()):
        plot.line(points, colour_of(party, place))
        plot.names.append((party, colour_of(party, place)))
    title = corruption.replace("_", " ")
    return Chart(f"{title}: {of_it[0]['metric']}", plot.svg("severity", of_it[0]["metric"], 200))
