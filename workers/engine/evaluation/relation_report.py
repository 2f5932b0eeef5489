"""The report's part on the tasks' relation."""

from typing import Any

from app.contracts.reports.relation import GroupsProposal, MatrixProposal, RelationReport
from app.contracts.resolving.multitask.grouping import groups_of
from app.contracts.resolving.multitask.relations import matrix_of, normalised, source_of
from app.contracts.specs.jobs import MultitaskJob
from app.contracts.specs.relations import EstimatedRelation, GroupsRelation, MatrixRelation, SearchedRelation
from workers.engine.balancing.relation.estimate import LEAST, identity
from workers.engine.balancing.relation.matrix import Matrix


def relation_report(asked: MultitaskJob, trained: MultitaskJob, measured: dict[str, Any] | None) -> RelationReport:
    """`asked` is the job's spec; `trained` the one that was trained, with the relation that a search or a first run
    chose; `measured` what an observer saw (`Observer.summary`).
    """
    names = [task.name for task in asked.tasks]
    relation = trained.relation
    matrix: Matrix | None = None
    if isinstance(relation, MatrixRelation | GroupsRelation):
        matrix = matrix_of(relation, names)
    elif isinstance(relation, EstimatedRelation) and measured is not None:
        matrix = measured["estimate"]  # what it followed
    told: dict[str, Any] = {"source": source_of(asked.relation), "matrix": normalised(matrix or identity(len(names)))}
    if relation is not None and not isinstance(relation, SearchedRelation):
        told["apply"] = relation.apply
    if measured is not None:
        estimate = measured["estimate"]
        told |= {name: value for name, value in measured.items() if name != "estimate"}
    if measured is not None and measured["measured"] >= LEAST:
        told["proposal"] = MatrixProposal(matrix=normalised(estimate))
        groups = tuple(tuple(names[i] for i in group) for group in groups_of(estimate))
        told["grouping"] = GroupsProposal(groups=groups)
    return RelationReport.model_validate({**told, "tasks": names}, strict=False)
