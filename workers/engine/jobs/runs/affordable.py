"""How many students and controls a job of `repeats: "auto"` may train while their difference is undecided."""

from dataclasses import dataclass

from app.contracts.layouts.summary import flops
from workers.engine.jobs.runs.run import Run

MOST_CONTROLS = 15
"""Of the seeds of a job. Controls are kept, so that later jobs on the same data and student find them."""
AFFORDABLE_FLOPS = 5e12
"""Floating-point operations of all networks of a job, three forward passes a step, up to which it trains more than its
first seeds: about a minute of a CPU core.
"""


@dataclass(frozen=True)
class Networks:
    """Numbers of students and of controls."""

    students: int
    controls: int


def most_networks(main: Run) -> Networks:
    """The networks of a job whose difference stays undecided; `main` is its first run.

    Students come first, up to their most, as each also varies what is exported; controls have the rest.
    """
    run_spec = main.run_spec
    if run_spec.most_repeats == run_spec.repeats:
        return Networks(run_spec.repeats, run_spec.repeats)
    schedule = main.schedule()
    each = 3.0 * schedule.steps * min(main.training.batch_size, len(schedule.rows)) * flops(run_spec.architecture)
    paid = int(AFFORDABLE_FLOPS // max(each, 1.0))
    students = min(run_spec.most_repeats, max(run_spec.repeats, paid // 2))
    return Networks(students, min(MOST_CONTROLS, max(students, paid - students)))
