"""Predictions on their way: the question that the API asks, and what a warm session of a worker is made of.

Supervisor and session exchange frames over a socket: a head in JSON, and the bytes of a request or of an answer.
"""

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from app.contracts.base import Answer
from app.contracts.problems import Problem
from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.wire.orders import ModelInput

MOST_ROWS: Final = 256
"""Largest number of rows of one request."""
MOST_BYTES: Final = 16 << 20
"""Largest body of one request."""
ORDER: Final = "session.json"
"""The file of a session's order, in its folder."""
RowsFormat = Literal["json", "npz", "csv", "jsonl", "image", "sound", "archive"]
"""`image`, `sound`: one file; `archive`: a tar of them."""


class TaughtOutput(Answer):
    """An output of a teacher as it taught a task of a student."""

    task: str
    output: str
    classes: tuple[int, ...] | None = Field(
        default=None, description="The teacher's class of each class of the task; null: all, in their order."
    )
    augmented: bool = Field(
        default=False, description="Whether it taught augmented rows, and so read no files by a form of its own."
    )


class Question(Answer):
    """Which model answers, and what the rows are."""

    model: str = Field(description="Id of the model that answers.")
    format: RowsFormat
    rows_of: str | None = Field(default=None, description="Id of the student whose rows a teacher answers; null: own.")
    taught: dict[str, TaughtOutput] = Field(
        default_factory=dict, description="With `rows_of`: the outputs that are answered, by a name of the API's own."
    )


class Reply(Answer):
    """The head of an answer: 200 and a `Prediction` in JSON as its bytes, or an error."""

    status: int
    code: str = ""
    detail: str = ""
    errors: tuple[Problem, ...] = ()


class SessionOrder(Answer):
    """What a session is made of, as the file `session.json` in its folder."""

    model: ModelInput
    graph: str | None = Field(
        description="The model's own exported ONNX file, where it has one; the `path` of the model is the same where "
        "it takes raw rows, since the weights are not needed then."
    )
    rows_of: ModelFacts | None = Field(default=None, description="Whose rows it answers; null: its own.")
    taught: dict[str, TaughtOutput] = Field(default_factory=dict)
    dataset: DatasetManifest | None = Field(
        description="Of the rows that the model (or that of `rows_of`) was trained on; null where it is not known."
    )
    tokenizers: dict[str, str] = Field(default_factory=dict, description="Paths of tokenizers by their SHA-256.")
    threads: int
    memory_bytes: int

    def inputs(self) -> tuple[Path, ...]:
        """The local files that the session reads."""
        paths = dict.fromkeys((self.model.path, self.graph, *self.tokenizers.values()))
        return tuple(Path(path) for path in paths if path is not None)
