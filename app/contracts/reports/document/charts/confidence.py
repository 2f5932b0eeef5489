"""How far confidence can be trusted: the reliability diagram."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.contracts.reports.document.blocks import Chart
from app.contracts.reports.document.charts.colours import colour_of
from app.contracts.reports.document.charts.svg import Axis, Plot

_LEAST_ROWS = 10
"""The accuracy of fewer rows says nothing."""


def reliability(task: str, parties: Mapping[str, Sequence[Mapping[str, Any]]]) -> Chart | None:
    """Accuracy by mean confidence, in bins of enough rows; on the diagonal confidence is accuracy."""
    lines = {
        party: [(each["confidence"], each["accuracy"]) for each in bins if each.get("count", 0) >= _LEAST_ROWS]
        for party, bins in parties.items()
    }
    if not any(lines.values()):
        return None
    plot = Plot.of(f"reliability of {task}", [0.0, 1.0], [0.0, 1.0])
    plot.x, plot.y = (Axis(0.0, 1.0, each.start, each.end) for each in (plot.x, plot.y))
    start, end = (f"{plot.x.at(each):.0f} {plot.y.at(each):.0f}" for each in (0.0, 1.0))
    plot.marks.append(f'<path class="axis" stroke-dasharray="2 3" d="M{start}L{end}"/>')
    for place, (party, points) in enumerate(lines.items()):
        colour = colour_of(party, place)
        plot.line(points, colour)
        for confidence, accuracy in points:
            plot.dot(
                confidence, accuracy, colour, f"{party}: confidence {confidence:.3f}, accuracy {accuracy:.3f}", 2.5
            )
        plot.names.append((party, colour))
    return Chart("Confidence and accuracy", plot.svg("mean confidence", "accuracy"))
