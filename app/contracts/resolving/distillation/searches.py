"""Can what is searched be judged, and in reasonable time?"""

from collections.abc import Iterator
from math import prod
from typing import Any

from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.jobs import AnyTrainingJob
from app.contracts.specs.searches import MOST_CANDIDATES


def searches(document: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(JSON pointer, search) of everything that a spec (as JSON) leaves to be searched, in its order."""
    if isinstance(document, dict):
        if isinstance(document.get("search"), list):
            yield place, document
            return
        for name, value in document.items():
            yield from searches(value, f"{place}/{name}")
    elif isinstance(document, list):
        for i, value in enumerate(document):
            yield from searches(value, f"{place}/{i}")


def check_search(spec: AnyTrainingJob, dataset: DatasetFacts | None, findings: Findings) -> None:
    """Problems for too many candidates, no rows to judge by, and repeats of what is still to be chosen."""
    found = list(searches(spec.model_dump(mode="json")))
    if not found:
        return
    place = found[0][0]
    count = prod(len(search["search"]) for _, search in found)
    if count > MOST_CANDIDATES:
        findings.problem(
            place,
            "too_many_candidates",
            f"the searches make {count} combinations, {MOST_CANDIDATES} at most: list fewer",
        )
    folded = any(search.get("folds") for _, search in found)
    if dataset is not None and not folded and not dataset.splits.get("validation"):
        findings.problem(
            place,
            "validation_needed",
            "a search is judged on the validation split, and the dataset has none: give one, or set `folds`",
        )
