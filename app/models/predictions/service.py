"""Predictions: questions to workers, and what is made of their answers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import Request
from sqlalchemy import select

from app.access.waiting import unless_disconnected
from app.contracts.wire.predictions import MOST_BYTES, Question, Reply, RowsFormat
from app.db.rows import ModelRow
from app.http.bodies import content_length, read_whole
from app.http.errors import ApiError, Conflict, Invalid, NotFound, Unavailable
from app.http.services import Caller, Services
from app.models.service import MODELS
from app.queue.predictions.records import Answered
from app.resources import service as resources


async def check_ready(services: Services, caller: Caller, identity: str) -> None:
    """Raises NotFound; Conflict unless the model is ready; Unavailable where no worker answers predictions."""
    async with services.database.read() as session:
        query = select(ModelRow.state).where(ModelRow.id == identity, ModelRow.project_id == caller.project_id)
        state = await session.scalar(query)
    if state != "ready":
        resources.require_ready(MODELS, await resources.get(MODELS, services, caller, identity))
    if not await services.predictions.is_served():
        raise Unavailable(
            "no_predict_worker",
            "no running worker answers predictions: start one with the lane `predict` (`stillhouse worker`), or wait "
            "until it has started",
        )


@asynccontextmanager
async def rows_of(services: Services, request: Request) -> AsyncIterator[bytes]:
    """The body of a request, which counts among those that wait until the end of the block.

    Raises Unavailable where these are too many or too large together, TooLarge, TooSlow.
    """
    budget = services.predictions.budget
    announced = content_length(request)
    size = MOST_BYTES if announced is None else min(announced, MOST_BYTES)
    if not budget.enter(size):
        raise Unavailable(
            "predict_queue_full",
            "too many requests to predict wait for their answers: send the request again later, or start more workers "
            "with the lane `predict`",
        )
    try:
        body = await read_whole(request, services.pace, MOST_BYTES)
        budget.correct(size, len(body))
        size = len(body)
        yield body
    finally:
        budget.leave(size)


async def predict(services: Services, caller: Caller, model: str, fmt: RowsFormat, body: bytes) -> bytes:
    """The answer of a model to the rows in a body: a `Prediction` in JSON. Raises ApiError."""
    question = Question(model=model, format=fmt)
    (answer,) = await answers_of(services, caller, [question], body)
    return body_of(services, answer)


async def answers_of(
    services: Services, caller: Caller, questions: Sequence[Question], body: bytes
) -> list[Answered | None]:
    """The answer to each question about the rows in a body; None where there is none in time. Where the client goes,
    ClientDisconnect is raised, and what no worker has taken yet is not computed.
    """
    return await unless_disconnected(caller, services.predictions.ask_of(caller.project_id, questions, body))


def body_of(services: Services, answer: Answered | None) -> bytes:
    """The answer; raises the ApiError where it is one."""
    if answer is None:
        raise Unavailable(
            "prediction_timeout",
            f"no worker has answered within {services.predictions.seconds:g} s: send the request again later",
        )
    if answer.reply.status == 200:
        return answer.body
    raise error_of(answer.reply)


def error_of(reply: Reply) -> ApiError:
    """The error that a reply is."""
    if reply.status == Invalid.status:
        return Invalid(reply.errors, reply.code, reply.detail)
    if reply.status == NotFound.status:
        return NotFound(reply.code, reply.detail)
    if reply.status == Conflict.status:
        return Conflict(reply.code, reply.detail)
    return Unavailable(reply.code, reply.detail)
