"""The candidates of a search, and the selected one."""

from pydantic import Field

from app.contracts.base import Answer


class Trial(Answer):
    """One candidate."""

    values: dict[str, float] = Field(
        description="Values by JSON pointer into the spec; for a relation the index of the candidate, from 0."
    )
    score: float = Field(
        description="Score on the validation rows, higher is better; with cross-validation the mean over folds."
    )
    folds: tuple[float, ...] = Field(default=(), description="Score of each fold; empty without cross-validation.")


class SearchReport(Answer):
    """All candidates of a search. The selected one was trained again as the student."""

    trials: tuple[Trial, ...] = Field(description="All candidates, in the order tried.")
    chosen: int = Field(description="Index of the best candidate in `trials`, counted from 0.")
    folds: int | None = Field(
        default=None, description="Number of cross-validation folds; null where the validation split decides."
    )
    controls: tuple[float, ...] = Field(
        default=(), description="Validation scores of the controls, one for each candidate; the best control is used."
    )
