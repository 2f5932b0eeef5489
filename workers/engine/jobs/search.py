"""Searches in a spec: the combinations of values as candidates, and the rows by which candidates are scored."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from app.contracts.specs.jobs import TRAINING_JOB, AnyTrainingJob
from workers.engine.common.seeds import generator

Pointer = tuple[str | int, ...]
"""The steps of a JSON pointer."""


@dataclass(frozen=True)
class Candidate:
    """A combination of searched values, by JSON pointer, and the spec with these values."""

    values: dict[str, float]
    spec: AnyTrainingJob
    order: tuple[tuple[float, str], ...]
    """The values, to sort candidates by, whatever their places in the lists."""


def _searches(document: Any, pointer: Pointer = ()) -> Iterator[tuple[Pointer, dict[str, Any]]]:
    """All objects with a list `search`, in the order of the document."""
    if isinstance(document, dict):
        if isinstance(document.get("search"), list):
            yield pointer, document
            return
        for name, value in document.items():
            yield from _searches(value, (*pointer, name))
    elif isinstance(document, list):
        for i, value in enumerate(document):
            yield from _searches(value, (*pointer, i))


def _replaced(document: Any, pointer: Pointer, value: float) -> Any:
    if not pointer:
        return value
    first, rest = pointer[0], pointer[1:]
    if isinstance(document, list):
        return [_replaced(item, rest, value) if i == first else item for i, item in enumerate(document)]
    return {name: _replaced(item, rest, value) if name == first else item for name, item in document.items()}


def _as_text(pointer: Pointer) -> str:
    return "".join(f"/{step}" for step in pointer)


def _as_number(value: Any, searched: list[Any]) -> float:
    """A number as it is; for other values (relations) the index in the search."""
    return float(value) if isinstance(value, int | float) else float(searched.index(value))


def _order(value: Any) -> tuple[float, str]:
    """Numbers in their order; other values (relations) in that of their JSON."""
    return (float(value), "") if isinstance(value, int | float) else (0.0, json.dumps(value, sort_keys=True))


def candidates(spec: AnyTrainingJob) -> list[Candidate]:
    """All combinations of searched values, in the order of the spec; empty without a search."""
    document = spec.model_dump(mode="json")
    searches = list(_searches(document))
    if not searches:
        return []
    result = []
    for values in product(*(search["search"] for _, search in searches)):
        changed = document
        for (pointer, _), value in zip(searches, values, strict=True):
            changed = _replaced(changed, pointer, value)
        parsed = TRAINING_JOB.validate_python(changed, strict=False)
        by_pointer = {
            _as_text(pointer): _as_number(value, search["search"])
            for (pointer, search), value in zip(searches, values, strict=True)
        }
        result.append(Candidate(by_pointer, parsed, tuple(_order(value) for value in values)))
    return result


def searches_learning_rate(spec: AnyTrainingJob) -> bool:
    """Whether the learning rate is searched; controls are then searched over the same values."""
    return any(pointer == ("training", "learning_rate") for pointer, _ in _searches(spec.model_dump(mode="json")))


def folds(rows: Tensor, count: int, seed: int) -> Sequence[tuple[Tensor, Tensor]]:
    """(training rows, validation rows) of each fold: `rows` (int64) split at random by the seed."""
    order = rows[torch.randperm(len(rows), generator=generator(seed, "folds"))]
    parts = [part.sort().values for part in torch.tensor_split(order, count)]
    return [(torch.cat([*parts[:i], *parts[i + 1 :]]).sort().values, part) for i, part in enumerate(parts)]
