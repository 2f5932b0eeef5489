"""Answers of models as clients see them."""

from pydantic import ConfigDict, Field

from app.contracts.base import Answer

Numbers = tuple[tuple[float, ...], ...]
NumbersOfTokens = tuple[Numbers, ...]


class TaskPrediction(Answer):
    """The answers of one output; the fields of its kind are there, the others are left out."""

    model_config = ConfigDict(populate_by_name=True)

    classes: tuple[str | int, ...] | tuple[tuple[str | int, ...], ...] | None = Field(
        default=None,
        alias="class",
        description="Of a class output: the most probable class of each row, its name, or its number where classes "
        "have none; of an output of tokens, those of each token of the row.",
    )
    map: tuple[tuple[tuple[int, ...], ...], ...] | None = Field(
        default=None,
        description="Of a map: the number of the most probable class of each pixel, by row, and in it [height, width]. "
        "Probabilities are left out, as they would be many; the exported graph has them.",
    )
    names: tuple[str, ...] | None = Field(
        default=None, description="Of a map: the names of its classes, in the order of their numbers, if they have any."
    )
    labels: Numbers | None = Field(
        default=None, description="Of a multilabel output: 1 for each label whose probability is 0.5 or more, else 0."
    )
    probabilities: Numbers | NumbersOfTokens | None = Field(
        default=None, description="Of classes or labels, by row, or by row and token."
    )
    logits: Numbers | NumbersOfTokens | None = Field(
        default=None, description="Scores of classes, whose softmax are the probabilities, or log-odds of labels."
    )
    value: tuple[float, ...] | None = Field(default=None, description="Of a value, in the units of its target, by row.")
    vector: Numbers | None = Field(default=None, description="Of a vector, in the units of its target, by row.")


class Agreement(Answer):
    """How a teacher's answers compare with the student's."""

    same: float | None = Field(
        default=None,
        description="Share of rows or pixels with the same class, or of labels with the same answer, from 0 to 1.",
    )
    mean_difference: float | None = Field(
        description="Mean absolute difference of the probabilities, or of the numbers of values and vectors; null of "
        "maps, whose answers have neither."
    )


class NotAnswered(Answer):
    """Why a teacher has no answer."""

    code: str = Field(
        description="Stable code, such as `teacher_deleted`, `columns_only`, `input_mismatch` (it reads an input that "
        "the student's rows lack)."
    )
    message: str = Field(description="What is missing.")


class TeacherPrediction(Answer):
    """The answers of one teacher of one task, as it taught the student."""

    task: str = Field(description="Name of the student's task.")
    model: str | None = Field(description="Id of the teacher; null for columns, and where it was deleted.")
    output: str | None = Field(description="Name of the teacher's output; null without a model.")
    weight: float = Field(description="Its weight among the teachers of the task, as in the job's spec.")
    answer: TaskPrediction | None = Field(description="Its answers; null where it has none.")
    agreement: Agreement | None = Field(description="With the student's answers; null where it has none.")
    not_answered: NotAnswered | None = Field(description="Why it has no answers; null where it has.")


class Prediction(Answer):
    """The answers of a model to some rows."""

    model: str = Field(description="Id of the model.")
    rows: int = Field(description="Number of rows.")
    outputs: dict[str, TaskPrediction] = Field(description="By output (of a student: by task).")
    teachers: tuple[TeacherPrediction, ...] | None = Field(
        default=None, description="With `compare=teacher`: each teacher of each task; else left out."
    )
