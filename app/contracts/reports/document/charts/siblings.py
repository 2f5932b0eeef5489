"""Quality against size: the student among students of other jobs on the same data, and its teachers."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.contracts.reports.document.blocks import Chart
from app.contracts.reports.document.charts.colours import colour_of
from app.contracts.reports.document.charts.svg import Plot, tick_text
from app.contracts.reports.document.numbers import figure


@dataclass(frozen=True)
class Sibling:
    """A network with its metric on the same test rows. `party`: `student`, `teacher` or the name of another job."""

    party: str
    parameters: int
    value: float
    is_other: bool = False


def pareto(task: str, metric: str, networks: Sequence[Sibling], *, lower_is_better: bool) -> Chart | None:
    """A dot for each network; the line joins those that no smaller one equals. None for fewer than two."""
    if len(networks) < 2:
        return None
    xs, ys = [float(each.parameters) for each in networks], [each.value for each in networks]
    plot = Plot.of(f"{metric} of {task} by parameters", xs, ys, log_x=True)
    sign = -1.0 if lower_is_better else 1.0
    best, front = -float("inf"), list[tuple[float, float | None]]()
    for each in sorted(networks, key=lambda network: (network.parameters, -sign * network.value)):
        if sign * each.value > best:
            best = sign * each.value
            front.append((each.parameters, each.value))
    plot.line(front, 5, dashed=True)
    for each in networks:
        hint = f"{each.party}: {tick_text(each.parameters)} parameters, {metric} {figure(each.value)}"
        plot.dot(each.parameters, each.value, 4 if each.is_other else colour_of(each.party), hint, 5.0)
    found = dict.fromkeys(
        ("other jobs", 4) if each.is_other else (each.party, colour_of(each.party)) for each in networks
    )
    plot.names += [*found, ("no smaller one is as good", 5)]
    return Chart("Quality and size", plot.svg("parameters", metric))
