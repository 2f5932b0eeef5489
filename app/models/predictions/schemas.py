"""Answers of models as clients see them."""

from pydantic import ConfigDict, Field

from app.contracts.base import Answer

Numbers = tuple[tuple[float, ...], ...]


class TaskPrediction(Answer):
    """The answers of one output; the fields of its kind are there, the others are left out."""

    model_config = ConfigDict(populate_by_name=True)

    classes: tuple[str | int, ...] | None = Field(
        default=None,
        alias="class",
        description="Of a class output: the most probable class of each row, its name, or its number where classes "
        "have none.",
    )
    labels: Numbers | None = Field(
        default=None, description="Of a multilabel output: 1 for each label whose probability is 0.5 or more, else 0."
    )
    probabilities: Numbers | None = Field(default=None, description="Of classes or labels, by row.")
    logits: Numbers | None = Field(
        default=None, description="Scores of classes, whose softmax are the probabilities, or log-odds of labels."
    )
    value: tuple[float, ...] | None = Field(default=None, description="Of a value, in the units of its target, by row.")
    vector: Numbers | None = Field(default=None, description="Of a vector, in the units of its target, by row.")


class Prediction(Answer):
    """The answers of a model to some rows."""

    model: str = Field(description="Id of the model.")
    rows: int = Field(description="Number of rows.")
    outputs: dict[str, TaskPrediction] = Field(description="By output (of a student: by task).")
