"""How the rows of a dataset are assigned to training, validation and test."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from app.contracts.base import Column, Contract, Name, left_out

SplitName = Literal["train", "validation", "test"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class FractionSplits(Contract):
    """Rows are dealt to the splits at random, from a seed."""

    fractions: dict[SplitName, Fraction] = Field(
        min_length=1, description="Share of the rows in each split; the shares sum to 1."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the random assignment.")
    stratify: Name | None = Field(
        default=None, description="Name of a class target whose class shares are the same in every split."
    )
    group: Column | None = Field(
        default=None,
        exclude_if=left_out,
        description="A column (or npz key), such as a patient's number: rows of one value stay in one split.",
    )
    shuffle: bool = Field(
        default=True,
        exclude_if=bool,
        description="false: rows in the order of the file, first training, then validation, then test.",
    )

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = sum(self.fractions.values())
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"fractions must sum to 1, found {total:.6g}")
        if self.fractions.get("train", 0.0) == 0.0:
            raise ValueError("the train fraction must be above 0")
        return self

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.group is not None and self.stratify is not None:
            raise ValueError(
                "`group` and `stratify` cannot both hold: leave one out, or assign rows yourself and name the column "
                'that says so: `"splits": {"column": "split"}`'
            )
        if not self.shuffle and (self.group is not None or self.stratify is not None):
            raise ValueError(
                "`shuffle: false` cuts the rows in their order: leave out `group` and `stratify`, or assign rows "
                'yourself and name the column that says so: `"splits": {"column": "split"}`'
            )
        return self


class ColumnSplits(Contract):
    """A column contains train, validation or test for each row."""

    column: Column = Field(description="Holds `train`, `validation` or `test` for each row.")


def _kind_of_splits(value: Any) -> str:
    named = value if isinstance(value, dict) else vars(value)
    return "column" if "column" in named else "fractions"


Splits = Annotated[
    Annotated[FractionSplits, Tag("fractions")] | Annotated[ColumnSplits, Tag("column")],
    Discriminator(_kind_of_splits),
]
