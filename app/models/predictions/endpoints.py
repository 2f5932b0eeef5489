"""`POST /v1/models/{id}/predict`."""

from typing import Annotated, Final, Literal

from fastapi import Path, Query, Request, Response

from app.access.authentication import KnownCaller, guarded_router
from app.contracts.wire.predictions import RowsFormat
from app.http.answers import json_body, json_content, problems
from app.http.errors import NotSupported
from app.http.services import TheServices
from app.models.predictions import service
from app.models.predictions.compare import compare as compare_with_teachers

router = guarded_router("/v1/models", "models")

_FORMATS: Final[dict[str, RowsFormat]] = {
    "application/json": "json",
    "application/x-npz": "npz",
    "application/zip": "npz",
    "text/csv": "csv",
    "application/x-ndjson": "jsonl",
    "application/x-tar": "archive",
    **dict.fromkeys(("image/jpeg", "image/png", "image/webp", "image/bmp"), "image"),
    **dict.fromkeys(("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"), "sound"),
    **dict.fromkeys(("audio/flac", "audio/x-flac", "audio/ogg", "application/ogg"), "sound"),
    **dict.fromkeys(("audio/mpeg", "audio/mp3"), "sound"),
}
Compare = Annotated[
    Literal["teacher"] | None,
    Query(
        description="`teacher`: the teachers of the job that trained this student answer the same rows, side by side, "
        "as they taught it."
    ),
]


def _format(request: Request) -> RowsFormat:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    found = _FORMATS.get(kind)
    if found is None:
        raise NotSupported(
            "rows_expected",
            "expected rows as application/json, application/x-npz, text/csv or application/x-ndjson, or images as "
            "image/jpeg, image/png, image/webp, image/bmp, sounds as audio/wav, audio/flac, audio/ogg, audio/mpeg, or "
            "a tar of them as application/x-tar: say which in Content-Type, as curl --json or -H does",
        )
    return found


@router.post(
    "/{model_id}/predict",
    openapi_extra=json_body("PredictRequest"),  # client generators know no other type of these
    responses={
        200: json_content("Prediction", "The answers of the model."),
        **problems(400, 404, 408, 409, 413, 415, 422),
    },
)
async def create_prediction(
    model_id: Annotated[str, Path(description="The model's id.")],
    request: Request,
    caller: KnownCaller,
    services: TheServices,
    compare: Compare = None,
) -> Response:
    """Answer up to 256 rows, sent as they stand in the dataset's file.

    A model that was trained here takes the rows of its dataset before any transform; an uploaded one those that its
    `inputs` describe. Beside JSON the body may be a file as the dataset's: `application/x-npz` (arrays by the names of
    the inputs), `text/csv`, `application/x-ndjson` (JSON lines); columns that the model does not read are left out. A
    model of images takes an image file (`image/jpeg`, `image/png`, `image/webp`, `image/bmp`), one of sounds a sound
    file (`audio/wav`, `audio/flac`, `audio/ogg`, `audio/mpeg`), or several in a tar (`application/x-tar`), answered in
    the order of their paths.
    """
    fmt = _format(request)
    await service.check_ready(services, caller, model_id)
    async with service.rows_of(services, request) as body:
        if compare is None:
            answer = await service.predict(services, caller, model_id, fmt, body)
        else:
            answer = await compare_with_teachers(services, caller, model_id, fmt, body)
    return Response(answer, media_type="application/json")
