"""`POST /v1/models/{id}/exports`: a further file of a ready model, made by a job."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Path, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.authentication import KnownCaller, guarded_router
from app.contracts.base import canonical_json
from app.contracts.resolving.rows_of_models import rows_misfit
from app.contracts.resources.facts import DATASET_FACTS, MODEL_FACTS
from app.contracts.specs.jobs import ExportJob
from app.contracts.specs.requests.exports import EXPORT_REQUEST
from app.db.rows import DatasetRow, JobRow, ModelRow
from app.http.answers import json_body, json_content, problems
from app.http.bodies import read_json
from app.http.errors import Conflict, Invalid, NotFound
from app.http.idempotency import IdempotencyKey, fingerprint_of
from app.http.services import Caller, Services, TheServices
from app.http.validation import parse_as
from app.jobs import service
from app.jobs.submission import unusable
from app.queue import exports
from app.queue.records import NewJob, UnusableInput
from app.resources import repository
from app.resources.service import require_rows

router = guarded_router("/v1/models", "models")


@router.post(
    "/{model_id}/exports",
    status_code=202,
    openapi_extra=json_body("ExportRequest"),
    responses={
        202: json_content("Job", "The job that makes the file: the same one while it has not failed."),
        **problems(400, 404, 408, 409, 413, 415, 422),
    },
)
async def create_model_export(
    model_id: Annotated[str, Path(description="The model's id.")],
    request: Request,
    caller: KnownCaller,
    services: TheServices,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Export a ready model in another format. Once the job has succeeded, `/weights?format=` of the model serves it.

    The ONNX file takes raw rows and puts out answers: scale, mean, std, categories and fills of the model are in it.
    The report of a job with a `dataset` has what a quantized file loses.
    """
    return await _export(services, caller, model_id, request, idempotency_key)


_POSITIONS: Final = {
    "token_class": (
        "tagging_undefined",
        "token",
        'export the model as `onnx`, or train it with `"exports": ["int8"]`',
    ),
    "map": ("map_undefined", "pixel", "export the model as `onnx`"),
}
"""Code of the refusal, what a network answers for, and the way out, of kinds of outputs that are exported as they are
alone.
"""


def _check_format(facts: Mapping[str, Any], wanted: str) -> None:
    """Raises Conflict for a format that is not made of such a network."""
    kinds = {each["spec"]["kind"] for each in facts["outputs"].values()}
    for kind, (code, place, way_out) in _POSITIONS.items():
        if kind in kinds and wanted != "onnx":
            detail = f"`{wanted}` of a network that answers for each {place} is not made of a ready model: {way_out}"
            raise Conflict(code, detail)
    if wanted == "fp16" and any(each.get("tokens") for each in facts["inputs"].values()):
        raise Conflict(
            "half_undefined",
            "float16 holds neither the ids of a network of texts nor its masks: export it as `onnx` or `int8`",
        )


async def _check_rows(session: AsyncSession, caller: Caller, model: ModelRow, dataset: str) -> None:
    """Raises Invalid where the model does not read the rows of the dataset; a job that waits for their inspection
    checks them then.
    """
    row = await repository.find(session, DatasetRow, caller.project_id, dataset)
    if row is None or row.state != "ready":
        return
    facts = MODEL_FACTS.validate_python(model.facts, strict=False, extra="ignore")
    problem = rows_misfit(facts, DATASET_FACTS.validate_python(row.facts, strict=False, extra="ignore"))
    if problem is not None:
        raise Invalid.at("/dataset", problem.code, problem.detail)


async def _export(services: Services, caller: Caller, model_id: str, request: Request, key: str | None) -> Response:
    """Raises NotFound; Conflict if the model is not ready, or has the file from elsewhere than an export."""
    wanted = parse_as(EXPORT_REQUEST, await read_json(request, services.pace))

    async def make(session: AsyncSession) -> JobRow:
        row = await repository.find(session, ModelRow, caller.project_id, model_id, lock=True)
        if row is None:
            raise NotFound("unknown_model", "there is no model with this id: `GET /v1/models` lists them")
        if row.state != "ready":
            raise Conflict("not_ready", f"the model is {row.state}: `GET /v1/models/{row.id}?wait=60` waits for it")
        if (row.facts or {}).get("architecture") is None:
            raise Conflict(
                "no_architecture",
                "an export is made of a model of a family, and this one is a graph of its own: download it by "
                f"`GET /v1/models/{row.id}/weights`",
            )
        _check_format(row.facts or {}, wanted.format)
        has = any(file.role == wanted.format for file in row.files)
        earlier = await exports.find(session, row.id, wanted.format)
        if earlier is not None and wanted.format == "int8" and earlier.spec.get("dataset") != wanted.dataset:
            raise Conflict(
                "already_there",
                f"the ranges of this model's int8 file are those of {earlier.spec.get('dataset')}, by {earlier.id}: a "
                "model has one int8 file; upload the weights as a model of their own for another",
            )
        if has and earlier is None:
            raise Conflict(
                "already_there", f"the model has this file: `GET /v1/models/{row.id}/weights?format={wanted.format}`"
            )
        if wanted.dataset is not None:
            await require_rows(session, caller, wanted.dataset, "/dataset")
            await _check_rows(session, caller, row, wanted.dataset)
        spec = ExportJob(model=row.id, format=wanted.format, dataset=wanted.dataset)
        job = NewJob(spec=spec, project_id=caller.project_id, key_id=caller.key_id, threads=services.settings.threads)
        try:
            return await services.ledger.export(session, job)
        except UnusableInput as error:
            raise unusable(spec, error) from None

    fingerprint = fingerprint_of(f"POST /v1/models/{model_id}/exports", canonical_json(wanted))
    return await service.create_once(services, caller, key, fingerprint, make)
