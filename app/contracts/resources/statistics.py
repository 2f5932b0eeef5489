"""What an inspection counted in a dataset, and what it found unusual."""

from pydantic import Field

from app.contracts.base import Answer

MOST_COUNTED_CLASSES = 1000


class TargetStatistics(Answer):
    """The labels of one target in one split."""

    rows: int = Field(description="Rows of the split.")
    labelled: int = Field(description="Rows that have a label.")
    missing: int = Field(description="Rows without a label; of a multilabel target, those without any.")
    counts: tuple[int, ...] | None = Field(
        default=None,
        description=f"Of a class target with at most {MOST_COUNTED_CLASSES} classes: labels of each class, in order.",
    )
    positives: tuple[int, ...] | None = Field(
        default=None,
        description=f"Of a multilabel target with at most {MOST_COUNTED_CLASSES} labels: rows where each label is 1.",
    )
    missing_by_label: tuple[int, ...] | None = Field(
        default=None,
        description=f"Of a multilabel target with at most {MOST_COUNTED_CLASSES} labels: rows where each is missing.",
    )
    minimum: float | None = Field(default=None, description="Smallest number; null for classes, and without labels.")
    maximum: float | None = Field(default=None, description="Largest number; null for classes, and without labels.")
    mean: float | None = Field(default=None, description="Mean of all numbers; null for classes, and without labels.")


class WeightStatistics(Answer):
    """The row weights of one column in one split."""

    rows: int = Field(description="Rows of the split.")
    zeros: int = Field(description="Rows of weight 0.")
    minimum: float = Field(description="Smallest weight.")
    maximum: float = Field(description="Largest weight.")
    sum: float = Field(description="Sum of the weights.")
    effective: float = Field(
        description="Effective sample size, the square of their sum over the sum of their squares (Kish 1965): as many "
        "rows of equal weight give a mean of the same variance; 0 where every weight is."
    )


class ColumnCounts(Answer):
    """The values of one column of an input in one split that were replaced when it was read."""

    missing: int = Field(description="Rows without a value.")
    unseen: int = Field(
        default=0, description="Rows with a value that is none of the categories; they share the slot after the last."
    )


class DataWarning(Answer):
    """Something unusual in a dataset that is allowed but may be unintended."""

    code: str = Field(description="Stable code, such as `class_without_labels`.")
    message: str = Field(description="What was expected, what was found, and what can be done about it.")
    targets: tuple[str, ...] = Field(
        default=(), description="The targets that it concerns; empty where it concerns all, such as the input."
    )
    inputs: tuple[str, ...] = Field(
        default=(), description="The inputs that it concerns, where only networks that read them are concerned."
    )
