"""The task relation matrix R: which task teaches which, and how that acts."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contracts.base import Contract

RelationEntry = Annotated[float, Field(ge=0.0, le=1e6)]
RelationRow = Annotated[tuple[RelationEntry, ...], Field(min_length=1, max_length=64)]


class MatrixRelation(Contract):
    """The task relation matrix R: R_ij says how much task j teaches task i; row i weights what helps i.

    Rows are normalised by the service. `rows` hands the objectives R · L_task, kept apart, to the balancer.
    """

    matrix: Annotated[tuple[RelationRow, ...], Field(min_length=1, max_length=64)] = Field(
        description="One row and one column for each task, in the order of `tasks`."
    )
    apply: Literal["rows"] = Field(default="rows", description="How R acts.")

    @model_validator(mode="after")
    def _square_with_living_rows(self) -> Self:
        size = len(self.matrix)
        for i, row in enumerate(self.matrix):
            if len(row) != size:
                raise ValueError(f"the matrix must be square: row {i} has {len(row)} of {size} entries")
            if sum(row) == 0.0:
                raise ValueError(f"row {i} is all zero: task {i} would learn from no one")
        return self
