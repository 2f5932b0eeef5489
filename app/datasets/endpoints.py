"""`/v1/datasets`."""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from app.access.authentication import KnownCaller, guarded_router
from app.access.waiting import Wait
from app.contracts.resources.predictions import UploadedFormat
from app.contracts.resources.splits import MOST_FILES
from app.contracts.states import ModelState
from app.datasets.preview import preview
from app.datasets.service import DATASETS
from app.http.answers import changes_name, json_answer, json_body, json_content, problems, upload_body
from app.http.files import serve
from app.http.idempotency import IdempotencyKey
from app.http.pages import After, Limit, decode_cursor, page_of
from app.http.services import TheServices
from app.resources import requests
from app.resources import service as resources

router = guarded_router("/v1/datasets", "datasets")

Identity = Annotated[str, Path(description="The dataset's id.")]
State = Annotated[ModelState | None, Query(description="Only datasets in this state.")]
Format = Annotated[UploadedFormat | None, Query(alias="format", description="Only datasets of this format.")]


@router.post(
    "",
    status_code=201,
    openapi_extra=upload_body("DatasetManifest", "PredictionsManifest", most_files=MOST_FILES),
    responses={
        201: json_content("Dataset", "The dataset, whose inspection is queued."),
        **problems(400, 408, 409, 413, 415, 422),
    },
)
async def create_dataset(
    request: Request, caller: KnownCaller, services: TheServices, idempotency_key: IdempotencyKey = None
) -> Response:
    """Upload a dataset, or predictions for one: a manifest and its files, in any order. They are then inspected: wait
    for `ready`.
    """
    return await requests.upload(DATASETS, services, caller, request, idempotency_key)


@router.get("", responses={200: json_content("DatasetPage", "Datasets, newest first."), **problems(400)})
async def list_datasets(
    caller: KnownCaller,
    services: TheServices,
    limit: Limit = 50,
    after: After = None,
    state: State = None,
    fmt: Format = None,
) -> Response:
    """List datasets, newest first."""
    entries = await resources.listed(DATASETS, services, caller, decode_cursor(after), limit, state, fmt)
    return json_answer(page_of(entries, limit))


@router.get("/{dataset_id}", responses={200: json_content("Dataset", "The dataset."), **problems(400, 404)})
async def get_dataset(dataset_id: Identity, caller: KnownCaller, services: TheServices, wait: Wait = 0.0) -> Response:
    """Get a dataset; with `wait`, as soon as its inspection has ended."""
    return json_answer(DATASETS.view(await resources.get(DATASETS, services, caller, dataset_id, wait)))


@router.get(
    "/{dataset_id}/preview",
    responses={
        200: json_content("Preview", "Some rows of the training split."),
        206: {"description": "The requested range of it."},
        304: {"description": "The client has these bytes already."},
        **problems(400, 404, 409, 416),
    },
)
async def get_dataset_preview(
    dataset_id: Identity, request: Request, caller: KnownCaller, services: TheServices
) -> Response:
    """Get some rows of a ready dataset to look at: images drawn, texts and numbers as they stand in the file."""
    return await serve(request, await preview(services, caller, dataset_id))


@router.patch(
    "/{dataset_id}",
    openapi_extra=json_body(*map(changes_name, ("DatasetManifest", "PredictionsManifest"))),
    responses={
        200: json_content("Dataset", "The dataset, whose inspection is queued again."),
        **problems(400, 404, 408, 409, 413, 415, 422),
    },
)
async def update_dataset(
    dataset_id: Identity, request: Request, caller: KnownCaller, services: TheServices
) -> Response:
    """Replace fields of the manifest of a rejected dataset, whose file is then inspected again."""
    return json_answer(await requests.update(DATASETS, services, caller, request, dataset_id))


@router.delete("/{dataset_id}", status_code=204, responses=problems(400, 404, 409))
async def delete_dataset(dataset_id: Identity, caller: KnownCaller, services: TheServices) -> Response:
    """Delete a dataset. Refused while a job that has not ended needs it."""
    await resources.delete(DATASETS, services, caller, dataset_id)
    return Response(status_code=204)
