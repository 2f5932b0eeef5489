"""`/healthz` and `/readyz`, which need no API key."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import Field

from app.contracts.base import Answer
from app.http.answers import json_answer, json_content, problem
from app.http.docs.openapi import operation_id
from app.http.services import TheServices

router = APIRouter(tags=["service"], generate_unique_id_function=operation_id)


class Health(Answer):
    """Answer to a probe."""

    status: Literal["alive", "ready"] = Field(
        description="`alive`: the process answers; `ready`: its database answers too, and its disk is not full."
    )


@router.get("/healthz", responses={200: json_content("Health", "The process answers."), 400: problem(400)})
async def get_health() -> Response:
    """Check that the process answers."""
    return json_answer(Health(status="alive"))


@router.get(
    "/readyz",
    responses={
        200: json_content("Health", "The process can work."),
        **{code: problem(code) for code in (400, 503, 507)},
    },
)
async def get_readiness(services: TheServices) -> Response:
    """Check that the process can work: its database answers, and has room for changes."""
    await services.database.ping()
    await services.database.require_room()
    return json_answer(Health(status="ready"))
