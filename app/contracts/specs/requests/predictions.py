"""The body of `POST /v1/models/{id}/predict` in JSON.

It is checked by the worker, against the rows that the model takes; this is its form for the reader.
"""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from app.contracts.base import Contract


class InputRows(Contract):
    """Rows by the inputs of the model."""

    inputs: dict[str, list[Any]] = Field(
        description="For each input of the model a list of 1 to 256 rows as they stand in the dataset's file: nested "
        "lists of numbers in the shape of a row, or of categories. null is a missing number where the model fills such."
    )


class TableRows(Contract):
    """Rows by the columns of a table."""

    rows: list[dict[str, Any]] = Field(
        description="1 to 256 objects with the columns that the model reads, as they stand in the dataset's file; null "
        "where a value is missing. Other columns of that file are left out of account, unknown ones refused."
    )


PredictRequest = Annotated[
    InputRows | TableRows,
    Field(title="PredictRequest", description="Rows for a model to answer, by its inputs or by columns of a table."),
]
PREDICT_REQUEST: TypeAdapter[InputRows | TableRows] = TypeAdapter(PredictRequest)
