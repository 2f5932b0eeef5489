"""Whether the controls of compared jobs have the same settings: what a control's training depends on, in the specs."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from app.contracts.problems import listed
from app.contracts.reports.compare import ComparedControls
from app.contracts.specs.jobs import MultitaskJob
from app.jobs.comparing.candidates import Candidate, ComparableJob

_WITHOUT_EFFECT: Final = {"threads", "seed"}
"""Training settings that change the draw of a control, or the last bits of it, not what it is a draw of."""
_SAME: Final = (
    "All jobs are compared with controls of one kind: the same network, data and training settings without teachers. "
    "Their seeds, and how many there are, may differ."
)
_DIFFERENT: Final = (
    "Each job is compared with its own control, as the settings of the controls differ ({fields}): differences say "
    "what the teachers of each added, ranks which student is best."
)


def compared_controls(jobs: Sequence[Candidate]) -> ComparedControls:
    """The comparison of every job's settings with those of the first."""
    first, *others = (_settings(job.spec) for job in jobs)
    differs = tuple(dict.fromkeys(pointer for other in others for pointer in _differences(first, other, "")))
    because = _DIFFERENT.format(fields=listed(differs)) if differs else _SAME
    return ComparedControls(same=not differs, differs=differs, because=because)


def _settings(spec: ComparableJob) -> dict[str, Any]:
    """What a control's training depends on. It does not start from a teacher's layers."""
    document = spec.model_dump(mode="json")
    settings = {name: document[name] for name in ("kind", "control")}
    settings["datasets"] = [each.weight for each in spec.dataset_refs()]
    settings["student"] = {name: value for name, value in document["student"].items() if name != "init"}
    settings["training"] = {name: each for name, each in document["training"].items() if name not in _WITHOUT_EFFECT}
    if isinstance(spec, MultitaskJob):
        settings |= {name: document[name] for name in ("balancing", "relation")}
        settings["tasks"] = [
            {name: task[name] for name in ("weight", "loss", "class_weights")} for task in document["tasks"]
        ]
    return settings


def _differences(one: Any, other: Any, pointer: str) -> Iterator[str]:
    """JSON pointers to the values that differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in dict.fromkeys((*one, *other)):
            yield from _differences(one.get(name), other.get(name), f"{pointer}/{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for at, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _differences(left, right, f"{pointer}/{at}")
    elif one != other:
        yield pointer
