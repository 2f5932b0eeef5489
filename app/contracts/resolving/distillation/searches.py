"""Can what is searched be judged, and in reasonable time?"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, assert_never

from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import DatasetFacts
from app.contracts.resources.splits import SplitName
from app.contracts.specs.jobs import AnyTrainingJob, DistillJob, MultitaskJob, TeacherRef, TrainJob
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
    if dataset is not None:
        _check_rows(spec, folds_of(spec), dataset, findings, place)


def folds_of(spec: AnyTrainingJob) -> int | None:
    """The number of folds of the searches of a spec; None where the validation split decides."""
    counts = [search["folds"] for _, search in searches(spec.model_dump(mode="json")) if search.get("folds")]
    return max(counts) if counts else None


def _check_rows(spec: AnyTrainingJob, folds: int | None, dataset: DatasetFacts, findings: Findings, place: str) -> None:
    """Candidates need rows to be compared on, with a label or a teacher's output."""
    if folds is None and not dataset.splits.get("validation"):
        findings.problem(
            place,
            "validation_needed",
            "a search is judged on the validation split, and the dataset has none: give one, or set `folds`",
        )
        return
    splits: tuple[SplitName, ...] = ("validation",) if folds is None else ("train", "validation")
    tasks = [task for task in _tasks(spec) if task[0] is not None]
    measured = max((_measured(dataset, splits, *task) for task in tasks), default=None)
    if measured is not None and measured < (folds or 1):
        findings.problem(place, "search_unmeasured", _too_few(measured, folds))


def _too_few(measured: int, folds: int | None) -> str:
    compared = "candidates are compared by labels or by teachers' outputs"
    if folds is None:
        return f"{compared}, and no row of the validation split has any: give labels to some, or set `folds`"
    return f"{compared}, and {folds} folds need as many rows with any, found {measured}: take fewer folds"


def _tasks(spec: AnyTrainingJob) -> list[tuple[str | None, tuple[TeacherRef, ...]]]:
    """(target, teachers) of each task; the target is None while it is not known."""
    match spec:
        case TrainJob():
            return [(spec.target, ())]
        case DistillJob():
            return [(spec.target, spec.teachers or ())]
        case MultitaskJob():
            return [(task.target or task.name, task.teachers or ()) for task in spec.tasks]
        case _:
            assert_never(spec)


def _measured(
    dataset: DatasetFacts, splits: Sequence[SplitName], target: str | None, teachers: Sequence[TeacherRef]
) -> int:
    """At most as many rows of these splits have a label of the target, or an output of one of the teachers."""
    names = [target, *(ref.stored_as for ref in teachers if ref.stored_as is not None)]
    columns = [dataset.targets[name] for name in names if name in dataset.targets]
    counts = [sum(column.labelled.get(split, 0) for split in splits) for column in columns]
    if any(ref.stored_as is None for ref in teachers):
        counts.append(sum(dataset.splits.get(split, 0) for split in splits))
    return max(counts, default=0)
