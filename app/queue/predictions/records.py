"""Arguments and results of the queue of predictions."""

from dataclasses import dataclass

from app.contracts.wire.predictions import Question, Reply

PREDICTIONS = "predictions"
"""The signal of a prediction that may be claimable."""


@dataclass(frozen=True)
class NewPrediction:
    """A request. `body`: the rows as they were sent; `body_of`: the id of the request that has them instead."""

    project_id: str
    question: Question
    body: bytes
    body_of: str | None = None


@dataclass(frozen=True)
class ClaimedPrediction:
    """A request that a worker has. `seconds`: until its deadline, when it was claimed."""

    id: str
    asker: str
    question: Question
    body: bytes
    seconds: float


@dataclass(frozen=True)
class Answered:
    """The answer to a request: `body` is a `Prediction` in JSON where the status of the reply is 200, else empty."""

    reply: Reply
    body: bytes = b""
