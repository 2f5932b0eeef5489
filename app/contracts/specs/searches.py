"""Searches over settings: each candidate is trained, the validation split (or folds) decides, and the winner is trained
again like a job that names its value.
"""

from typing import Annotated

from pydantic import Field

from app.contracts.base import Contract, Weight

MOST_CANDIDATES = 64
TemperatureValue = Annotated[float, Field(ge=0.05, le=100.0)]
Rate = Annotated[float, Field(gt=0.0, le=1e3)]


class JudgedSearch(Contract):
    """Fields of every search."""

    folds: int | None = Field(
        default=None,
        ge=2,
        le=10,
        description="Number of folds of a cross-validation over the training and validation splits; when left out, "
        "the validation split decides.",
    )


class TemperatureSearch(JudgedSearch):
    """A search over temperatures."""

    search: Annotated[tuple[TemperatureValue, ...], Field(min_length=2, max_length=32)] = Field(
        description="Candidates."
    )


class WeightSearch(JudgedSearch):
    """A search over weights."""

    search: Annotated[tuple[Weight, ...], Field(min_length=2, max_length=32)] = Field(description="Candidates.")


class RateSearch(JudgedSearch):
    """A search over learning rates; the control is searched over the same."""

    search: Annotated[tuple[Rate, ...], Field(min_length=2, max_length=32)] = Field(description="Candidates.")
