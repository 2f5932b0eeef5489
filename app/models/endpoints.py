"""`/v1/models`."""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from app.access.authentication import KnownCaller, guarded_router
from app.access.waiting import Wait
from app.contracts.resources.manifests import ModelFormat
from app.contracts.states import ModelState
from app.http.answers import binary_content, changes_name, json_answer, json_body, json_content, problems, upload_body
from app.http.files import BINARY, serve
from app.http.idempotency import IdempotencyKey
from app.http.pages import After, Limit, decode_cursor, page_of
from app.http.services import TheServices
from app.models import service
from app.models.bundle.service import bundle
from app.models.service import MODELS, WeightsFormat
from app.resources import requests
from app.resources import service as resources

router = guarded_router("/v1/models", "models")

Identity = Annotated[str, Path(description="The model's id.")]
State = Annotated[ModelState | None, Query(description="Only models in this state.")]
Format = Annotated[ModelFormat | None, Query(alias="format", description="Only models uploaded in this format.")]
ServedFormat = Annotated[
    WeightsFormat | None,
    Query(alias="format", description="Format of the file; the model's own when left out. 404 where it has none."),
]
MakingWait = Annotated[
    float,
    Query(
        ge=0,
        le=60,
        description="Seconds to wait for a file that the model has not yet; it is then exported, as by "
        "`POST /v1/models/{id}/exports`.",
    ),
]


@router.post(
    "",
    status_code=201,
    openapi_extra=upload_body("ModelManifest"),
    responses={
        201: json_content("Model", "The model, whose inspection is queued."),
        **problems(400, 408, 409, 413, 415, 422),
    },
)
async def create_model(
    request: Request, caller: KnownCaller, services: TheServices, idempotency_key: IdempotencyKey = None
) -> Response:
    """Upload a model: a manifest and one file, in either order. The file is then inspected: wait for `ready`."""
    return await requests.upload(MODELS, services, caller, request, idempotency_key)


@router.get("", responses={200: json_content("ModelPage", "Models, newest first."), **problems(400)})
async def list_models(
    caller: KnownCaller,
    services: TheServices,
    limit: Limit = 50,
    after: After = None,
    state: State = None,
    fmt: Format = None,
) -> Response:
    """List models, newest first."""
    entries = await resources.listed(MODELS, services, caller, decode_cursor(after), limit, state, fmt)
    return json_answer(page_of(entries, limit))


@router.get("/{model_id}", responses={200: json_content("Model", "The model."), **problems(400, 404)})
async def get_model(model_id: Identity, caller: KnownCaller, services: TheServices, wait: Wait = 0.0) -> Response:
    """Get a model; with `wait`, as soon as its inspection has ended."""
    return json_answer(MODELS.view(await resources.get(MODELS, services, caller, model_id, wait)))


@router.patch(
    "/{model_id}",
    openapi_extra=json_body(changes_name("ModelManifest")),
    responses={
        200: json_content("Model", "The model, whose inspection is queued again."),
        **problems(400, 404, 408, 409, 413, 415, 422),
    },
)
async def update_model(model_id: Identity, request: Request, caller: KnownCaller, services: TheServices) -> Response:
    """Replace fields of the manifest of a rejected model, whose file is then inspected again."""
    return json_answer(await requests.update(MODELS, services, caller, request, model_id))


@router.delete("/{model_id}", status_code=204, responses=problems(400, 404, 409))
async def delete_model(model_id: Identity, caller: KnownCaller, services: TheServices) -> Response:
    """Delete a model. Refused while a job that has not ended needs it."""
    await resources.delete(MODELS, services, caller, model_id)
    return Response(status_code=204)


@router.get(
    "/{model_id}/weights",
    responses={**binary_content(BINARY), **problems(400, 404, 409, 416)},
)
async def get_model_weights(
    model_id: Identity,
    request: Request,
    caller: KnownCaller,
    services: TheServices,
    fmt: ServedFormat = None,
    wait: MakingWait = 0.0,
) -> Response:
    """Download the weights, in the model's own format or in another one that it has, or is given with `wait`."""
    return await serve(request, await service.weights(services, caller, model_id, fmt, wait))


@router.get(
    "/{model_id}/bundle",
    responses={**binary_content(BINARY), **problems(400, 404, 409, 416)},
)
async def get_model_bundle(
    model_id: Identity, request: Request, caller: KnownCaller, services: TheServices, wait: MakingWait = 0.0
) -> Response:
    """Download what a model of a family needs where it will run, as a zip that needs numpy and onnxruntime alone: the
    ONNX graph and the weights, `predict.py`, `config.json`, rows with the model's answers, and the model card.
    """
    return await serve(request, await bundle(services, caller, model_id, wait))


@router.get(
    "/{model_id}/layers",
    responses={200: json_content("Layers", "The layers, in forward order."), **problems(400, 404, 409)},
)
async def get_model_layers(model_id: Identity, caller: KnownCaller, services: TheServices) -> Response:
    """List the layers that a feature term of a distillation can name."""
    return json_answer(await service.layers(services, caller, model_id))
