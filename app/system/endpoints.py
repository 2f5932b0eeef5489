"""`/v1/queue`, `/v1/system` and `/v1/names`."""

from typing import Annotated

from fastapi import Query, Response

from app.access.authentication import KnownCaller, guarded_router
from app.http.answers import json_answer, json_content, problems
from app.http.services import TheServices
from app.system.facts import system_of
from app.system.names import read_names
from app.system.queue import read_queue
from app.system.schemas import Names

router = guarded_router("/v1", "system")

MOST_NAMES = 200
Ids = Annotated[
    list[Annotated[str, Query(max_length=64)]],
    Query(
        alias="id", min_length=1, max_length=MOST_NAMES, description="Id of a model, dataset or job; may be repeated."
    ),
]


@router.get("/queue", responses={200: json_content("Queue", "The queue and its workers."), **problems(400)})
async def get_queue(caller: KnownCaller, services: TheServices) -> Response:
    """Get how many jobs wait and run, and which workers there are."""
    async with services.database.read() as session:
        return json_answer(await read_queue(session, caller.project_id))


@router.get("/system", responses={200: json_content("System", "The service."), **problems(400)})
async def get_system(caller: KnownCaller, services: TheServices) -> Response:
    """Get versions, disk, and the limits of a key."""
    return json_answer(await system_of(services))


@router.get("/names", responses={200: json_content("Names", "The names."), **problems(400)})
async def list_names(caller: KnownCaller, services: TheServices, ids: Ids) -> Response:
    """Get names and states of models, datasets and jobs by their ids, such as those in specs."""
    async with services.database.read() as session:
        return json_answer(Names(data=await read_names(session, caller.project_id, ids)))
