"""`/v1/models`."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.access.authentication import GUARDED, KnownCaller
from app.contracts.resources.manifests import ModelFormat
from app.contracts.states import ModelState
from app.http import resources
from app.http.answers import binary_content, changes_body, json_answer, json_content, problems, upload_body
from app.http.files import BINARY, serve
from app.http.keyed import IdempotencyKey
from app.http.pages import After, Limit, decode_cursor, page_of
from app.http.services import TheServices
from app.http.waiting import Wait
from app.models import service
from app.models.service import MODELS, WeightsFormat

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=GUARDED)


@router.post(
    "",
    status_code=201,
    openapi_extra=upload_body("ModelManifest"),
    responses={
        201: json_content("Model", "Uploaded; its inspection is queued."),
        **problems(400, 408, 409, 413, 415, 422, 507),
    },
)
async def upload_model(
    request: Request, caller: KnownCaller, services: TheServices, idempotency_key: IdempotencyKey = None
) -> Response:
    """Upload a model: a manifest and one file, in either order."""
    return await resources.upload(MODELS, services, caller, request, idempotency_key)


@router.get("", responses={200: json_content("ModelPage", "Models, newest first."), **problems(400)})
async def list_models(
    caller: KnownCaller,
    services: TheServices,
    limit: Limit = 50,
    after: After = None,
    state: ModelState | None = None,
    fmt: Annotated[ModelFormat | None, Query(alias="format")] = None,
) -> Response:
    """List models."""
    entries = await resources.listed(MODELS, services, caller, decode_cursor(after), limit, state, fmt)
    return json_answer(page_of(entries, limit))


@router.get("/{model_id}", responses={200: json_content("Model", "The model."), **problems(400, 404)})
async def get_model(model_id: str, caller: KnownCaller, services: TheServices, wait: Wait = 0.0) -> Response:
    """A model; `wait` for the end of its inspection."""
    return json_answer(MODELS.view(await resources.get(MODELS, services, caller, model_id, wait)))


@router.patch(
    "/{model_id}",
    openapi_extra=changes_body("ModelManifest"),
    responses={200: json_content("Model", "Being inspected again."), **problems(400, 404, 408, 409, 413, 415, 422)},
)
async def mend_model(model_id: str, request: Request, caller: KnownCaller, services: TheServices) -> Response:
    """A better manifest for rejected bytes: the fields that it names replace the old ones."""
    return json_answer(await resources.mend(MODELS, services, caller, request, model_id))


@router.delete("/{model_id}", status_code=204, responses=problems(400, 404, 409))
async def delete_model(model_id: str, caller: KnownCaller, services: TheServices) -> Response:
    """Delete a model that no unfinished job needs."""
    await resources.delete(MODELS, services, caller, model_id)
    return Response(status_code=204)


@router.head("/{model_id}/weights", include_in_schema=False)
@router.get(
    "/{model_id}/weights",
    responses={**binary_content(BINARY), **problems(400, 404, 409, 416)},
)
async def get_weights(
    model_id: str,
    request: Request,
    caller: KnownCaller,
    services: TheServices,
    fmt: Annotated[WeightsFormat | None, Query(alias="format")] = None,
) -> Response:
    """The weights, in the model's own format or in another one that it has."""
    return await serve(request, await service.weights(services, caller, model_id, fmt))


@router.get(
    "/{model_id}/layers", responses={200: json_content("Layers", "In forward order."), **problems(400, 404, 409)}
)
async def get_layers(model_id: str, caller: KnownCaller, services: TheServices) -> Response:
    """The names that a feature term may tap."""
    return json_answer(await service.layers(services, caller, model_id))
