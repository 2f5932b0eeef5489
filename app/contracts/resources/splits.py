"""How the rows of a dataset are assigned to training, validation and test."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, assert_never

from pydantic import Discriminator, Field, Tag, model_validator

from app.contracts.base import Column, Contract, FileName, Name, left_out

SplitName = Literal["train", "validation", "test"]
MOST_FILES: Final = 64
"""Maximum number of files of a dataset."""
SPLIT_WORDS: Final[Mapping[str, SplitName]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What names of folders and files call the splits, in lower case."""
_NO_LETTERS: Final = re.compile(r"[^a-z]+")
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


class FileSplits(Contract):
    """All rows of a file are in one split."""

    files: dict[FileName, SplitName] = Field(
        min_length=2,
        max_length=MOST_FILES,
        description="By the name of each of the dataset's files, the split that its rows are in.",
    )

    @model_validator(mode="after")
    def _has_training_rows(self) -> Self:
        if "train" not in self.files.values():
            raise ValueError("expected a file of training rows, found none: name the split `train` for one or more")
        return self


def split_in_name(name: str) -> SplitName | None:
    """The split that a file's name says by a word between characters other than letters, as `train-00000-of-00005.csv`
    does (the convention of Hugging Face); None where it says none, or several.
    """
    found = {SPLIT_WORDS[word] for word in _NO_LETTERS.split(name.lower()) if word in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def columns_of_splits(splits: FractionSplits | ColumnSplits | FileSplits) -> set[str]:
    """The columns by which rows are assigned to splits."""
    match splits:
        case ColumnSplits():
            return {splits.column}
        case FractionSplits():
            return {splits.group} if splits.group is not None else set()
        case FileSplits():
            return set()
        case _:
            assert_never(splits)


def _kind_of_splits(value: Any) -> str:
    """Of a document or of a parsed one; what is neither is no `FractionSplits`, and refused as such."""
    named = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return next((kind for kind in ("column", "files") if kind in named), "fractions")


Splits = Annotated[
    Annotated[FractionSplits, Tag("fractions")]
    | Annotated[ColumnSplits, Tag("column")]
    | Annotated[FileSplits, Tag("files")],
    Discriminator(_kind_of_splits),
]
