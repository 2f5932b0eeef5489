"""Temperature of soft targets: a number, a schedule, or learned."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contracts.base import Contract
from app.contracts.specs.searches import TemperatureSearch, TemperatureValue


class ScheduledTemperature(Contract):
    """From `start` to `end` over all steps, linearly or by half a cosine."""

    schedule: Literal["linear", "cosine"] = Field(description="Shape of the change: linear or half a cosine.")
    start: TemperatureValue = Field(description="Temperature at the first step.")
    end: TemperatureValue = Field(description="Temperature at the last step.")


class LearnedTemperature(Contract):
    """A learned temperature (CTKD, Li 2023): it maximises the loss by a reversed gradient, which is ramped up.

    A temperature that minimises the loss collapses to 0.
    """

    learned: Literal[True] = Field(description="Always true.")
    start: TemperatureValue = Field(default=4.0, description="Temperature at the first step.")
    low: TemperatureValue = Field(default=1.0, description="Lower limit.")
    high: TemperatureValue = Field(default=21.0, description="Upper limit.")
    ramp: float = Field(
        default=0.5,
        gt=0.0,
        le=1.0,
        description="Share of the steps over which the reversed gradient rises to its full size.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.start < self.high:
            raise ValueError("a learned temperature needs `low` < `start` < `high`")
        return self


Temperature = Annotated[
    TemperatureValue | ScheduledTemperature | LearnedTemperature | TemperatureSearch,
    Field(description="Divisor of the logits of teacher and student: a number, a schedule, learned, or a search."),
]
