"""The task relation in a job's report."""

from collections.abc import Sequence
from typing import Any, TypedDict

from app.contracts.reports.relation import GroupsProposal, MatrixProposal, RelationReport
from app.contracts.resolving.multitask.grouping import groups_of
from app.contracts.resolving.multitask.relations import matrix_of, normalised, source_of
from app.contracts.specs.jobs import MultitaskJob
from app.contracts.specs.relations import EstimatedRelation, GroupsRelation, MatrixRelation, SearchedRelation
from workers.engine.balancing.relation.estimate import LEAST, identity
from workers.engine.balancing.relation.matrix import Matrix


class RelationMeasurements(TypedDict):
    """Means over the measurements of the tasks' gradients; keys as in `RelationReport`, and the estimated R."""

    tasks: list[str]
    method: str
    measured: int
    affinity: Sequence[Sequence[float | None]]
    standard_error: Sequence[Sequence[float | None]]
    cosine: Sequence[Sequence[float | None]]
    conflicts: Sequence[Sequence[float | None]]
    norms: Sequence[float | None]
    weights: Sequence[float | None]
    estimate: Matrix


def relation_report(
    requested: MultitaskJob, trained: MultitaskJob, measured: RelationMeasurements | None
) -> RelationReport:
    """`requested` is the job's spec; `trained` the spec that was trained, with the relation that a search or a first
    run selected.
    """
    names = [task.name for task in requested.tasks]
    relation = trained.relation
    matrix: Matrix | None = None
    if isinstance(relation, MatrixRelation | GroupsRelation):
        matrix = matrix_of(relation, names)
    elif isinstance(relation, EstimatedRelation) and measured is not None:
        matrix = measured["estimate"]
    report: dict[str, Any] = {
        "source": source_of(requested.relation),
        "matrix": normalised(matrix or identity(len(names))),
    }
    if relation is not None and not isinstance(relation, SearchedRelation):
        report["apply"] = relation.apply
    if measured is not None:
        report |= {name: value for name, value in measured.items() if name != "estimate"}
    if measured is not None and measured["measured"] >= LEAST:
        estimate = measured["estimate"]
        report["proposal"] = MatrixProposal(matrix=normalised(estimate))
        groups = tuple(tuple(names[i] for i in group) for group in groups_of(estimate))
        report["grouping"] = GroupsProposal(groups=groups)
    return RelationReport.model_validate({**report, "tasks": names}, strict=False)
