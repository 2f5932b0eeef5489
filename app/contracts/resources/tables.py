"""Tables in manifests: how a csv is written, inputs of categories, and what a student keeps of both."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from app.contracts.base import ClassName, Column, Contract

MOST_CATEGORIES = 4096
"""Largest number of categories of one input, over all of its columns."""

Missing = Literal["mean", "median", "zero", "indicator"]
CategoryEncoding = Literal["one_hot", "ordinal"]
TextEncoding = Literal[
    "utf-8",
    "utf-16",
    "latin-1",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-15",
    "cp1252",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "shift_jis",
    "euc-kr",
    "gb18030",
    "big5",
]
CategoryNames = Annotated[tuple[ClassName, ...], Field(min_length=1, max_length=MOST_CATEGORIES)]
MOST_FILL = 3.4e38
"""Largest number that a float32 has, about."""
MOST_PLACES = 65_536
"""Largest number of numbers of a row whose missing ones are filled."""
Fill = Annotated[float, Field(ge=-MOST_FILL, le=MOST_FILL)]
NullValue = Annotated[str, StringConstraints(min_length=1, max_length=64)]


def _separates(character: str) -> str:
    if character.isalnum() or character in "\"'\\.-+_ \n\r" or not (character == "\t" or character.isprintable()):
        raise ValueError("expected one character such as `;`, `,`, `|` or a tab")
    return character


class CsvOptions(Contract):
    """How a csv is written, where it is not comma-separated UTF-8 with a header."""

    delimiter: Annotated[
        str, StringConstraints(min_length=1, max_length=1, pattern=r"^[\x00-\x7f]$"), AfterValidator(_separates)
    ] = Field(default=",", description="Character between two fields, such as `;` or a tab. A space may follow it.")
    decimal: Literal[".", ","] = Field(default=".", description="Decimal point of numbers.")
    encoding: TextEncoding = Field(default="utf-8", description="Encoding of the text.")
    header: bool = Field(
        default=True,
        description="Whether the first row holds the names of the columns. Without a header they are called `0`, `1`, "
        "`2` and so on, unless `columns` names them.",
    )
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=65_536)] | None = Field(
        default=None, description="Names of all columns in order, for a file without a header."
    )
    null_values: Annotated[tuple[NullValue, ...], Field(max_length=64)] = Field(
        default=(), description="Texts that mean a missing value, such as `?`, beside empty, null, None, NaN, NA, N/A."
    )

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        if self.columns is not None and self.header:
            raise ValueError('`columns` names the columns of a file without a header: add `"header": false`')
        if self.columns is not None and len(set(self.columns)) != len(self.columns):
            raise ValueError("`columns` names a column more than once: give every column its own name")
        return self


class CategoryInput(Contract):
    """Columns of categories (text, integers or booleans) as numbers.

    Categories that the training split does not have, and missing values, share one slot of their own, the last one.
    """

    kind: Literal["category"]
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=1024)] | None = Field(
        default=None, description="Columns of a table, or npz keys, in order; the input's name when left out."
    )
    encoding: CategoryEncoding = Field(
        default="one_hot",
        description="`one_hot`: a column of k categories becomes k + 1 numbers, one of them 1; `ordinal`: it becomes "
        "one number, 0 to k - 1, or k for unseen and missing values.",
    )
    categories: dict[Column, CategoryNames] = Field(
        default_factory=dict,
        max_length=1024,
        description="Categories of a column in order; where a column is left out, those of the training split, "
        "sorted (numbers by size).",
    )

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if self.columns is not None and (unknown := sorted(set(self.categories) - set(self.columns))):
            raise ValueError(f"`categories` names the column `{unknown[0]}`, which is not among `columns`")
        for column, names in self.categories.items():
            if len(set(names)) != len(names):
                raise ValueError(f"the categories of `{column}` name one more than once")
        return self


class InputEncoding(Contract):
    """How columns became the numbers of a row, before `scale`: the categories, and what fills missing numbers."""

    columns: Annotated[tuple[Column, ...], Field(max_length=65_536)] = Field(description="The columns, in order.")
    encoding: CategoryEncoding | None = Field(default=None, description="Of categories, as in the dataset's manifest.")
    categories: Annotated[tuple[CategoryNames, ...], Field(max_length=65_536)] | None = Field(
        default=None,
        description="Categories of each column, in order; the slot after the last is that of unseen and missing ones.",
    )
    missing: Missing | None = Field(default=None, description="Of numbers, as in the dataset's manifest.")
    fill: Annotated[tuple[Fill, ...], Field(max_length=MOST_PLACES)] | None = Field(
        default=None, description="What replaces a missing number at each place of a row, before `scale`."
    )
