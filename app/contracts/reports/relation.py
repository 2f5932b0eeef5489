"""What a multi-task job says about its tasks: the relation R, what was measured, and what the next job can take."""

from typing import Literal

from pydantic import Field

from app.contracts.base import Answer
from app.contracts.specs.relations import Apply

Row = tuple[float | None, ...]
_TABLE = "Row: the task that is helped; column: the one that helps. Null: not measured."


class MatrixProposal(Answer):
    """A `relation` for a next job, as it stands."""

    matrix: tuple[tuple[float, ...], ...]
    apply: Apply = "rows"


class GroupsProposal(Answer):
    """A `relation` for a next job, as it stands."""

    groups: tuple[tuple[str, ...], ...]
    apply: Apply = "trunks"


class RelationReport(Answer):
    """The relation of a job's tasks. Every table has the tasks' order in both directions."""

    tasks: tuple[str, ...]
    source: Literal["none", "given", "estimated", "searched"] = Field(description="Where `matrix` comes from.")
    apply: Apply | None = Field(default=None, description="How it acted.")
    matrix: tuple[tuple[float, ...], ...] = Field(description="R as it acted at the end, rows normalised.")
    method: str | None = Field(default=None, description="What `affinity` is: gradient_cosine, first_order or tag.")
    measured: int = Field(default=0, description="How often the gradients were looked at.")
    affinity: tuple[Row, ...] = Field(default=(), description=f"Mean of the raw affinities. {_TABLE}")
    standard_error: tuple[Row, ...] = Field(default=(), description="Of `affinity`.")
    cosine: tuple[Row, ...] = Field(default=(), description="Mean cosine of the tasks' gradients on what they share.")
    conflicts: tuple[Row, ...] = Field(default=(), description="Share of the looks with a negative cosine.")
    norms: Row = Field(default=(), description="Mean norm of each task's gradient on what they share.")
    weights: Row = Field(
        default=(),
        description="Mean of what the balancer multiplied each task's loss by, or, of a gradient method, its gradient; "
        "empty where a method has no such numbers.",
    )
    proposal: MatrixProposal | None = Field(default=None, description="R as the measurements have it.")
    grouping: GroupsProposal | None = Field(default=None, description="Tasks that teach each other, in groups.")


class RelationPoint(Answer):
    """R at one step."""

    step: int
    matrix: tuple[Row, ...]


class RelationHistory(RelationReport):
    """`GET /v1/jobs/{id}/relation`. Of a job that has no report (yet) the tables are means over the points that its
    metric series have so far, of many looks a sample; there is no proposal then.
    """

    final: bool = Field(description="Whether the job has ended with a report.")
    history: tuple[RelationPoint, ...] = Field(
        default=(), description="R over time, where it followed an estimate; rows normalised."
    )
