"""The task relation matrix R: where it comes from and how it is applied.

R_ij is how much task j teaches task i: row i has the weights of the tasks that help task i. The service normalises
rows.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from app.contracts.base import Contract, Name, coded_error
from app.contracts.specs.searches import JudgedSearch

EstimateMethod = Literal["gradient_cosine", "first_order", "tag"]
RelationSource = Literal["none", "given", "estimated", "searched"]
Apply = Literal["rows", "towers", "trunks", "teachers"]
APPLY = (
    "`rows`: the objectives R · L_task, kept apart, go to the balancer. `towers`: row i drives the tower of task i, "
    "where the sharing scheme has towers. `trunks`: tasks that teach each other share a trunk, others have their own. "
    "`teachers`: the teachers of task j also teach task i, with the weight R_ij."
)
_FORMS = {"given": "matrix", "grouped": "groups", "estimated": "estimate", "searched": "search"}
RelationEntry = Annotated[float, Field(ge=0.0, le=1e6)]
RelationRow = Annotated[tuple[RelationEntry, ...], Field(min_length=1, max_length=64)]
Places = Annotated[tuple[Annotated[int, Field(ge=0, le=63)], ...], Field(max_length=64)]
Group = Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]


class AppliedRelation(Contract):
    """Fields of every relation."""

    apply: Apply = Field(default="rows", description=APPLY)
    agreeing: tuple[Places, ...] | None = Field(
        default=None,
        max_length=64,
        description="Filled in when a job is resolved, with `teachers`: for each task the indices of the tasks whose "
        "teachers have the same kind of output.",
    )


class MatrixRelation(AppliedRelation):
    """R given as a matrix. A task has a share of at least 0.01 in its own row."""

    matrix: Annotated[tuple[RelationRow, ...], Field(min_length=1, max_length=64)] = Field(
        description="One row and one column for each task, in the order of `tasks`."
    )
    apply: Apply = Field(default="rows", description=APPLY)

    @model_validator(mode="after")
    def _square_with_living_rows(self) -> Self:
        size = len(self.matrix)
        for i, row in enumerate(self.matrix):
            if len(row) != size:
                raise ValueError(f"the matrix must be square: row {i} has {len(row)} of {size} entries")
            if sum(row) == 0.0:
                raise ValueError(f"row {i} is all zero: task {i} would have no objective")
        return self


class GroupsRelation(AppliedRelation):
    """R given as groups of tasks: 1 within a group, 0 across."""

    groups: Annotated[tuple[Group, ...], Field(min_length=1, max_length=64)] = Field(
        description="Names of the tasks in each group; every task is in exactly one group."
    )
    apply: Apply = Field(default="trunks", description=APPLY)

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [name for group in self.groups for name in group]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise coded_error("duplicate_name", f"a task is in one group, found twice: {', '.join(doubled)}")
        return self


class EstimatedRelation(AppliedRelation):
    """R estimated from the tasks' gradients.

    `gradient_cosine`: G_ij / √(G_ii G_jj) of the Gramian G of the gradients on shared parameters. `first_order`: the
    relative decrease of L_i that a step on task j predicts, η·G_ij / L_i. `tag` (Fifty 2021): the actual decrease,
    measured by a step that is undone. R_ij is the mean effect of j on i divided by that of i on itself, where it is
    positive and more than three standard errors from 0.
    """

    estimate: EstimateMethod = Field(description="Method of the estimate.")
    every: int = Field(default=10, ge=1, le=100_000, description="Number of steps between two measurements.")
    probe: float = Field(
        default=0.25,
        gt=0.0,
        le=1.0,
        description="With `trunks` and `teachers`: share of the steps that a first run takes, which only measures.",
    )
    apply: Apply = Field(
        default="rows", description=APPLY + " `rows` and `towers` follow the estimate while the student trains."
    )


def _form(value: Any) -> str | None:
    """Discriminator: the form of the relation, by the field that only it has."""
    for form, field in _FORMS.items():
        if (field in value) if isinstance(value, dict) else hasattr(value, field):
            return form
    return None


Candidate = Annotated[
    Annotated[MatrixRelation, Tag("given")] | Annotated[GroupsRelation, Tag("grouped")],
    Discriminator(
        _form,
        custom_error_type="relation_candidate",
        custom_error_message="a candidate is a relation by `matrix` or by `groups`",
    ),
]


class SearchedRelation(JudgedSearch):
    """A search: the best candidate by the validation split."""

    search: Annotated[tuple[Candidate, ...], Field(min_length=2, max_length=32)] = Field(
        description="Candidates: matrices and groups, each with its own `apply`."
    )


RelationSpec = Annotated[
    Annotated[MatrixRelation, Tag("given")]
    | Annotated[GroupsRelation, Tag("grouped")]
    | Annotated[EstimatedRelation, Tag("estimated")]
    | Annotated[SearchedRelation, Tag("searched")],
    Discriminator(
        _form,
        custom_error_type="relation_form",
        custom_error_message="a relation is one of `matrix`, `groups`, `estimate` or `search`",
    ),
]
