"""The part of the training in which a term counts, and how its weight rises."""

from typing import Self

from pydantic import Field, model_validator

from app.contracts.base import Contract


class Phase(Contract):
    """The steps in which a term counts, as shares of all optimizer steps (0: the first, 1: the last)."""

    begin: float = Field(default=0.0, ge=0.0, lt=1.0, description="Start, as a share of all steps.")
    end: float = Field(
        default=1.0, gt=0.0, le=1.0, description="End, as a share of all steps; 1 is the end of training."
    )
    ramp: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Share of all steps, from `begin`, over which the weight rises linearly from 0.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.begin < self.end:
            raise ValueError("a phase needs `begin` < `end`")
        if self.begin + self.ramp > self.end + 1e-9:
            raise ValueError("the `ramp` of a phase must end with it: `begin` + `ramp` is at most `end`")
        return self

    def share(self, progress: float) -> float:
        """Factor on the term's weight after `progress` (0 to 1) of the steps."""
        if progress < self.begin or self.over(progress):
            return 0.0
        return min(1.0, (progress - self.begin) / self.ramp) if self.ramp > 0.0 else 1.0

    def over(self, progress: float) -> bool:
        """Whether the phase is over; one that lasts to the end of training never is."""
        return self.end < 1.0 and progress >= self.end
