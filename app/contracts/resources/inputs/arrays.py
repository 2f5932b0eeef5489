"""Inputs of numbers."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contracts.base import Column, Contract, PositiveScale, Shape, left_out
from app.contracts.resources.tables import Missing

Columns = Annotated[tuple[Column, ...], Field(min_length=1, max_length=65_536)]


class ArrayInput(Contract):
    """Numbers of a fixed shape in each row.

    Booleans are 0 and 1; dates and timestamps are seconds since 1970-01-01 UTC, times of day and durations seconds, in
    float64. Numbers far from zero stay in float64 until they are centred by `standardize`.
    """

    kind: Literal["array"]
    columns: Columns | None = Field(
        default=None, description="Columns of a table, in order; for npz one key (the input's name when left out)."
    )
    shape: Shape | None = Field(
        default=None,
        description="Shape of one row in the file, before `layout`. Reshapes a flat row (C order), and adds or removes "
        "sides of 1; the array's own shape when left out.",
    )
    layout: Literal["channels_last", "channels_first"] | None = Field(
        default=None,
        exclude_if=left_out,
        description="Which side of a row counts the channels. `channels_last` moves the last side to the front once, "
        "at reading: rows [height, width, channels] become [channels, height, width], as the networks expect them. "
        "`channels_first` states that the first side does.",
    )
    scale: PositiveScale = Field(default=1.0, description="Factor on every number.")
    standardize: bool | None = Field(
        default=None,
        description="Subtract the mean and divide by the standard deviation of the training split, for each element of "
        "a row's first dimension; both are stored with the student. When left out, it depends on the numbers: one mean "
        "and one deviation for all where they are of one kind, as pixels are, else one for each column or channel. "
        "`standardization` of the dataset says what was chosen and why.",
    )
    missing: Missing | None = Field(
        default=None,
        exclude_if=left_out,
        description="What replaces NaN and null, at each place of a row: `mean` or `median` of the training split, "
        "`zero`; `indicator`: the mean, and a 0 or 1 for each number is appended to the row, 1 where it was missing, "
        "whatever `scale` and `standardize` are. "
        "They are stored with the student. Missing numbers are refused when left out.",
    )

    @model_validator(mode="after")
    def _indicators_are_appended_to_flat_rows(self) -> Self:
        if self.missing == "indicator" and self.shape is not None and len(self.shape) > 1:
            raise ValueError("`indicator` appends numbers to flat rows: leave out `shape`, or choose `mean`")
        return self
