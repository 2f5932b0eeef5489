"""What a search tried, and what came of it."""

from pydantic import Field

from app.contracts.base import Answer


class Trial(Answer):
    """One candidate."""

    values: dict[str, float] = Field(
        description="By their place in the spec (a JSON pointer); of a relation the candidate's number, from 0."
    )
    score: float = Field(description="On the validation rows, higher is better; the mean over folds.")
    folds: tuple[float, ...] = Field(default=(), description="By fold, where there are folds.")


class SearchReport(Answer):
    """The whole curve of a search. The winner was trained again on the plain path."""

    trials: tuple[Trial, ...]
    chosen: int = Field(description="Which trial won, counted from 0.")
    folds: int | None = None
    controls: tuple[float, ...] = Field(
        default=(), description="Validation scores of the controls, of which there are as many; the best one counts."
    )
