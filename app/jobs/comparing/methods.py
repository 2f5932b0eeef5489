"""The method of a job in a few words."""

from collections.abc import Iterator

from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import MultitaskJob
from app.jobs.comparing.candidates import ComparableJob

_SHOWN = ("weight", "temperature")


def method_of(spec: ComparableJob, task: str) -> str:
    """The terms of the task's loss that come from teachers, such as `kd (weight 0.9, temperature 4) + fitnets`."""
    if isinstance(spec, MultitaskJob):
        chosen = next(each for each in spec.tasks if each.name == task)
        terms = list(_terms(chosen.distillation))
    else:
        terms = list(_terms(spec.distillation))
        terms += ["mutual"] if spec.mutual is not None else []
    return " + ".join(terms) or "labels"


def _terms(distillation: DistillationSpec | None) -> Iterator[str]:
    if distillation is None:
        return
    for term in (*(distillation.soft_targets or ()), *(distillation.features or ())):
        values = {name: getattr(term, name, None) for name in _SHOWN}
        shown = [f"{name} {value:g}" for name, value in values.items() if isinstance(value, int | float)]
        yield f"{term.method} ({', '.join(shown)})" if shown else term.method
