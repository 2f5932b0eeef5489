"""Values to be searched: where a spec names candidates, what each combination of them makes of it, and the rows by
which they are judged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from app.contracts.specs.jobs import TRAINING_JOB
from workers.engine.common.seeds import generator
from workers.engine.tasks.run_spec import Spec

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Candidate:
    """One combination: the values by their JSON pointer, and the spec with them in it."""

    values: dict[str, float]
    spec: Spec


def _searches(document: Any, place: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every object with a list `search`, in the order of the document."""
    if isinstance(document, dict):
        if isinstance(document.get("search"), list):
            yield place, document
            return
        for name, value in document.items():
            yield from _searches(value, (*place, name))
    elif isinstance(document, list):
        for i, value in enumerate(document):
            yield from _searches(value, (*place, i))


def _replaced(document: Any, place: Place, value: float) -> Any:
    if not place:
        return value
    first, rest = place[0], place[1:]
    if isinstance(document, list):
        return [_replaced(item, rest, value) if i == first else item for i, item in enumerate(document)]
    return {name: _replaced(item, rest, value) if name == first else item for name, item in document.items()}


def _pointer(place: Place) -> str:
    return "".join(f"/{step}" for step in place)


def _told(value: Any, tried: list[Any]) -> float:
    """A number as it is; of what is no number (a relation) its place among the candidates."""
    return float(value) if isinstance(value, int | float) else float(tried.index(value))


def candidates(spec: Spec) -> list[Candidate]:
    """Every combination of what is searched, in the order of the spec; none where nothing is searched."""
    document = spec.model_dump(mode="json")
    found = list(_searches(document))
    if not found:
        return []
    made = []
    for values in product(*(search["search"] for _, search in found)):
        changed = document
        for (place, _), value in zip(found, values, strict=True):
            changed = _replaced(changed, place, value)
        parsed = TRAINING_JOB.validate_python(changed, strict=False)
        said = {
            _pointer(place): _told(value, search["search"])
            for (place, search), value in zip(found, values, strict=True)
        }
        made.append(Candidate(said, parsed))
    return made


def folds_of(spec: Spec) -> int | None:
    """Folds of the cross-validation, where a search asks for one."""
    asked = [search["folds"] for _, search in _searches(spec.model_dump(mode="json")) if search.get("folds")]
    return max(asked) if asked else None


def searches_rate(spec: Spec) -> bool:
    """Whether the learning rate is among what is searched: then the control is searched over the same."""
    return any(place == ("training", "learning_rate") for place, _ in _searches(spec.model_dump(mode="json")))


def folds(rows: Tensor, count: int, seed: int) -> Sequence[tuple[Tensor, Tensor]]:
    """(training rows, validation rows) of each fold: `rows` (int64) dealt at random, from the seed."""
    order = rows[torch.randperm(len(rows), generator=generator(seed, "folds"))]
    parts = [part.sort().values for part in torch.tensor_split(order, count)]
    return [(torch.cat([*parts[:i], *parts[i + 1 :]]).sort().values, part) for i, part in enumerate(parts)]
