"""Reference rows of an uploaded model: what it answers where it was trained."""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from app.contracts.base import Contract, Name

MAX_ROWS = 64
MAX_NUMBERS = 1 << 18
"""Maximum number of elements of a row."""


def _numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    else:
        yield value


def _flat(value: Any) -> Any:
    """A row as a flat tuple: nested lists, such as the rows of an image, are flattened in their order."""
    return tuple(_numbers(value))


_Number = Annotated[float, Field(ge=-1e30, le=1e30)]
_Row = Annotated[
    Annotated[tuple[_Number, ...], Field(min_length=1, max_length=MAX_NUMBERS)],
    BeforeValidator(_flat, json_schema_input_type=Annotated[list[_Number], Field(max_length=MAX_NUMBERS)] | _Number),
]
Rows = Annotated[
    Annotated[tuple[_Row, ...], Field(min_length=1, max_length=MAX_ROWS)],
    BeforeValidator(
        lambda value: tuple(value) if isinstance(value, list) else value,
        json_schema_input_type=Annotated[list[_Row], Field(min_length=1, max_length=MAX_ROWS)],
    ),
]


class Reference(Contract):
    """Rows and their outputs. They agree where |output - reference| <= 1e-3 |reference| + 1e-4 times the spread
    (largest minus smallest number) of the reference outputs: what float32 allows.
    """

    inputs: dict[Name, Rows] = Field(
        min_length=1,
        max_length=8,
        description="Raw rows, as a dataset would have them, by input: `x.tolist()`. Nested lists are flattened. At "
        "most 64 rows.",
    )
    outputs: dict[Name, Rows] = Field(
        min_length=1,
        max_length=64,
        description="The model's outputs for these rows, by output, each within 1e-3 of itself plus 1e-4 of the spread "
        "of the output's numbers.",
    )

    @model_validator(mode="after")
    def _one_number_of_rows(self) -> Self:
        counts = {name: len(rows) for part in (self.inputs, self.outputs) for name, rows in part.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"all parts of `reference` need equally many rows, found {counts}")
        for name, rows in (*self.inputs.items(), *self.outputs.items()):
            widths = sorted({len(row) for row in rows})
            if len(widths) > 1:
                raise ValueError(f"all rows of `{name}` need equally many numbers, found {widths[:5]}")
        return self
