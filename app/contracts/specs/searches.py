"""Searches over settings: each candidate is trained, the validation split (or folds) decides, and the winner is trained
again like a job that names its value.

Weights and temperatures change the scale of the loss: candidates are compared by measures that do not depend on them.
"""

from typing import Annotated

from pydantic import Field

from app.contracts.base import Contract, Weight

MOST_CANDIDATES = 64
TemperatureValue = Annotated[float, Field(ge=0.05, le=100.0)]
Rate = Annotated[float, Field(gt=0.0, le=1e3)]


class JudgedSearch(Contract):
    """Fields of every search.

    Candidates are compared by the metric of `select_by` on labels, or by a loss that does not depend on them: nll or
    squared error on labels, KL from the teachers at temperature 1 without labels. Equal ones are decided by that loss.
    """

    folds: int | None = Field(
        default=None,
        ge=2,
        le=10,
        description="Number of folds of a cross-validation over the training and validation splits; when left out, "
        "the validation split decides.",
    )


class TemperatureSearch(JudgedSearch):
    """A search over temperatures; candidates are compared at temperature 1."""

    search: Annotated[tuple[TemperatureValue, ...], Field(min_length=2, max_length=32)] = Field(
        description="Candidates."
    )


class WeightSearch(JudgedSearch):
    """A search over weights; candidates are compared by measures without weights."""

    search: Annotated[tuple[Weight, ...], Field(min_length=2, max_length=32)] = Field(description="Candidates.")


class RateSearch(JudgedSearch):
    """A search over learning rates; the control is searched over the same."""

    search: Annotated[tuple[Rate, ...], Field(min_length=2, max_length=32)] = Field(description="Candidates.")
