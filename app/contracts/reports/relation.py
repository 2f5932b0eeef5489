"""The task relation R of a multi-task job, the measurements behind it, and proposals for a next job."""

from pydantic import Field

from app.contracts.base import Answer
from app.contracts.specs.relations import Apply, RelationSource

Row = tuple[float | None, ...]
_TABLE = "Row: the task that is helped; column: the one that helps. Null: not measured."


class MatrixProposal(Answer):
    """A value of `relation` for a next job."""

    matrix: tuple[tuple[float, ...], ...] = Field(
        description="One row and one column for each task, in the order of `tasks`."
    )
    apply: Apply = Field(default="rows", description="How the relation acts.")


class GroupsProposal(Answer):
    """A value of `relation` for a next job."""

    groups: tuple[tuple[str, ...], ...] = Field(description="Names of the tasks in each group.")
    apply: Apply = Field(default="trunks", description="How the relation acts.")


class RelationReport(Answer):
    """The relation of a job's tasks. Rows and columns of every table are in the order of `tasks`."""

    tasks: tuple[str, ...] = Field(description="Names of the tasks, in the order of all rows and columns.")
    source: RelationSource = Field(description="Origin of `matrix`: the spec, an estimate, a search, or none.")
    apply: Apply | None = Field(default=None, description="How the relation acted; null without one.")
    matrix: tuple[tuple[float, ...], ...] = Field(
        description="R at the end, with normalised rows: entry (i, j) says how much task j helps task i."
    )
    method: str | None = Field(
        default=None,
        description="Method behind `affinity`: gradient_cosine, first_order or tag; null where nothing was measured.",
    )
    measured: int = Field(default=0, description="Number of times that the gradients were measured.")
    affinity: tuple[Row, ...] = Field(default=(), description=f"Mean of the raw affinities. {_TABLE}")
    standard_error: tuple[Row, ...] = Field(default=(), description="Standard errors of `affinity`.")
    cosine: tuple[Row, ...] = Field(
        default=(), description="Mean cosine of the tasks' gradients on shared parameters; null where not measured."
    )
    conflicts: tuple[Row, ...] = Field(
        default=(), description="Share of the measurements with a negative cosine; null where not measured."
    )
    norms: Row = Field(
        default=(), description="Mean norm of each task's gradient on shared parameters; null where not measured."
    )
    weights: Row = Field(
        default=(),
        description="Mean of what the balancer multiplied each task's loss by, or, of a gradient method, its gradient; "
        "empty where a method has no such numbers.",
    )
    proposal: MatrixProposal | None = Field(
        default=None, description="R as the measurements suggest it; null where too little was measured."
    )
    grouping: GroupsProposal | None = Field(
        default=None,
        description="Groups of tasks that help each other, as the measurements suggest them; null where too little "
        "was measured.",
    )


class RelationPoint(Answer):
    """R at one step."""

    step: int = Field(description="Optimizer step.")
    matrix: tuple[Row, ...] = Field(description="R at this step; null where it was not recorded.")


class RelationHistory(RelationReport):
    """`GET /v1/jobs/{id}/relation`. For a job without a report the tables are means over the points of its metric
    series so far, which are a sample of the measurements, and there is no proposal.
    """

    final: bool = Field(description="Whether the job has ended with a report.")
    history: tuple[RelationPoint, ...] = Field(
        default=(), description="R over time, where it followed an estimate; rows normalised."
    )
