"""Applies a job's task relation R: to the losses, to towers, to shared trunks, or to the teachers of each task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never

from app.contracts.resolving.multitask.relations import lent_teachers, matrix_of, with_trunks
from app.contracts.specs.architectures import StudentSpec
from app.contracts.specs.jobs import MultitaskJob, TaskSpec
from app.contracts.specs.relations import EstimatedRelation, GroupsRelation, MatrixRelation, SearchedRelation
from workers.engine.balancing.relation.estimate import identity
from workers.engine.balancing.relation.matrix import Matrix


@dataclass(frozen=True)
class AppliedRelation:
    """R as applied in the optimizer steps of a learner: fixed, or `follows` an estimate during training."""

    apply: Literal["rows", "towers"]
    matrix: Matrix
    follows: EstimatedRelation | None = None

    def facts(self) -> dict[str, Any]:
        """Everything that a learner's bits depend on, as JSON."""
        follows = self.follows.model_dump(mode="json") if self.follows is not None else None
        return {"apply": self.apply, "matrix": self.matrix, "follows": follows}


def given_matrix(spec: MultitaskJob) -> Matrix | None:
    """R where the spec gives it; None without a relation, and for one that is estimated or searched."""
    relation = spec.relation
    if not isinstance(relation, MatrixRelation | GroupsRelation):
        return None
    return matrix_of(relation, [task.name for task in spec.tasks])


def applied_relation(spec: MultitaskJob) -> AppliedRelation | None:
    """The relation applied in optimizer steps; None where it is applied elsewhere or there is none."""
    relation, matrix = spec.relation, given_matrix(spec) or identity(len(spec.tasks))
    if relation is None or isinstance(relation, SearchedRelation):
        return None
    match relation.apply:
        case "rows" | "towers":
            follows = relation if isinstance(relation, EstimatedRelation) else None
            return AppliedRelation(relation.apply, matrix, follows)
        case "trunks" | "teachers":
            return None
        case _:
            assert_never(relation.apply)


def relation_to_probe(spec: MultitaskJob) -> EstimatedRelation | None:
    """The relation that a first run must estimate before the student and its teachers are known; else None."""
    relation = spec.relation
    if isinstance(relation, EstimatedRelation) and relation.apply in ("trunks", "teachers"):
        return relation
    return None


def with_estimate(spec: MultitaskJob, matrix: Matrix) -> MultitaskJob:
    """The spec with the estimated matrix as its given relation."""
    relation = spec.relation
    assert isinstance(relation, EstimatedRelation)
    given = MatrixRelation(matrix=matrix, apply=relation.apply, agreeing=relation.agreeing)
    return spec.model_copy(update={"relation": given})


def related_student(spec: MultitaskJob) -> StudentSpec:
    """The student with the trunks that R assigns to its tasks."""
    return with_trunks(spec.student, spec.relation, [task.name for task in spec.tasks])


def related_tasks(spec: MultitaskJob) -> Sequence[TaskSpec]:
    """The tasks, with the teachers of related tasks added where R applies to teachers."""
    relation, matrix = spec.relation, given_matrix(spec)
    if matrix is None or not isinstance(relation, MatrixRelation | GroupsRelation) or relation.apply != "teachers":
        return spec.tasks
    return lent_teachers(spec.tasks, matrix, relation.agreeing or [()] * len(spec.tasks))
