"""The candidates of a search, and the selected one."""

from typing import Literal

from pydantic import Field

from app.contracts.base import Answer


class Trial(Answer):
    """One candidate."""

    values: dict[str, float] = Field(
        description="Values by JSON pointer into the spec; for a relation the index of the candidate, from 0."
    )
    score: float | None = Field(
        description="`measure` on the validation rows, or minus it where lower is better: higher is better. With "
        "cross-validation the mean over folds; null where it is not finite."
    )
    loss: float | None = Field(
        default=None,
        description="`loss_measure` on the validation rows, lower is better: decides between equal scores. With "
        "cross-validation the mean over folds; null where it is not finite, or where an older version made the report.",
    )
    folds: tuple[float | None, ...] = Field(
        default=(), description="Score of each fold; empty without cross-validation."
    )


class SearchReport(Answer):
    """All candidates of a search. The selected one was trained again as the student.

    Candidates are compared by measures that do not depend on what is searched: by labels, or by the teachers' outputs
    at temperature 1 where the rows have no labels.
    """

    trials: tuple[Trial, ...] = Field(description="All candidates, in the order tried.")
    chosen: int = Field(description="Index of the best candidate in `trials`, counted from 0.")
    measure: str | None = Field(
        default=None,
        description="What `score` is: the metric of `select_by`; with `select_by: loss` `nll`, or `mse` of "
        "standardised values; without labels `kl` (teachers to student, in nats, at temperature 1) or `rmse` to the "
        "teachers' mean. Several, separated by commas, where tasks differ. Null in reports of an older version.",
    )
    loss_measure: str | None = Field(
        default=None, description="What `loss` is: `nll` or `mse` on labels, `kl` or `rmse` without labels."
    )
    rows: int | None = Field(default=None, description="Number of validation rows by which candidates were compared.")
    tied: int = Field(default=1, description="Number of candidates whose score equals the best; 1 without a tie.")
    decided_by: Literal["score", "loss", "values"] = Field(
        default="score",
        description="What decided: the `score`; among equal scores the lowest `loss`; where that is equal too, the "
        "smallest searched values. Never the order of the candidates.",
    )
    folds: int | None = Field(
        default=None, description="Number of cross-validation folds; null where the validation split decides."
    )
    controls: tuple[float | None, ...] = Field(
        default=(),
        description="Validation scores of the controls, one for each candidate; the best control is used, of equal "
        "ones that of the lowest loss. Empty where controls differ in their seeds alone and there is no validation "
        "split.",
    )
    control_losses: tuple[float | None, ...] = Field(
        default=(), description="Validation losses of the controls, as `loss` of the candidates."
    )
