"""Values that the service chooses: each candidate trains, the validation split (or folds) decides, the winner trains
again on the plain path.
"""

from typing import Annotated

from pydantic import Field

from app.contracts.base import Contract, Weight

MOST_CANDIDATES = 64
TemperatureValue = Annotated[float, Field(ge=0.05, le=100.0)]
Rate = Annotated[float, Field(gt=0.0, le=1e3)]


class JudgedSearch(Contract):
    """What every search has."""

    folds: int | None = Field(
        default=None,
        ge=2,
        le=10,
        description="Number of folds of a cross-validation over the training and validation splits; when left out, "
        "the validation split decides.",
    )


class TemperatureSearch(JudgedSearch):
    """The temperature that does best."""

    search: Annotated[tuple[TemperatureValue, ...], Field(min_length=2, max_length=32)] = Field(
        description="Candidates."
    )


class WeightSearch(JudgedSearch):
    """The weight that does best."""

    search: Annotated[tuple[Weight, ...], Field(min_length=2, max_length=32)] = Field(description="Candidates.")


class RateSearch(JudgedSearch):
    """The learning rate that does best; the control is searched over the same."""

    search: Annotated[tuple[Rate, ...], Field(min_length=2, max_length=32)] = Field(description="Candidates.")


Search = TemperatureSearch | WeightSearch | RateSearch
