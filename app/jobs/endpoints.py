"""`/v1/jobs`."""

from typing import Annotated, Literal

from fastapi import Header, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from app.access.authentication import KnownCaller, guarded_router
from app.access.waiting import Wait
from app.contracts.resources.splits import SplitName
from app.contracts.specs.jobs import JobKind
from app.contracts.states import TERMINAL, JobState
from app.contracts.wire.events import EventType
from app.http.answers import binary_content, json_answer, json_body, json_content, json_text_answer, problems, schema_of
from app.http.errors import BadRequest
from app.http.files import BINARY, serve
from app.http.idempotency import IdempotencyKey
from app.http.pages import After, Limit, decode_cursor, page_json, page_of
from app.http.services import TheServices
from app.jobs import metrics, relation, retries, service
from app.jobs.events import streams
from app.jobs.points import FEWEST_POINTS, Wanted
from app.jobs.repository import MOST_LABELS, JobFilter
from app.jobs.schemas import job_json
from app.jobs.shown_reports import MEDIA_TYPES, shown
from app.jobs.shown_reports import ReportFormat as ShownFormat

router = guarded_router("/v1/jobs", "jobs")

_REPORTS = ("Report", "PreflightReport", "ExportReport")
Identity = Annotated[str, Path(description="The job's id.")]
DryRun = Annotated[
    bool, Query(description="Only validate: the answer is the resolved spec, and nothing is written or queued.")
]
Priority = Annotated[
    int,
    Query(
        ge=-100,
        le=100,
        description="Of the waiting jobs of one key the highest goes first, and of those the oldest. Between keys the "
        "queue is shared fairly, whatever the priorities. A retry keeps that of its job.",
    ),
]
State = Annotated[JobState | None, Query(description="Only jobs in this state.")]
Kind = Annotated[
    JobKind | None, Query(description="Only jobs of this kind; without it all but inspections of uploads.")
]
Text = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=200,
        description="Only jobs with this text in their name or id, whatever the case of the letters a to z.",
    ),
]
Labels = Annotated[
    list[Annotated[str, Query(max_length=200)]] | None,
    Query(
        max_length=MOST_LABELS,
        description="Only jobs with this label: `key=value`, or `key` for any value. Several must all match.",
    ),
]
Cut = Annotated[
    str | None,
    Query(
        max_length=64,
        description="Of a multitask job, only the weights that this task needs: a network with the same predictions.",
    ),
]
EventTypes = Annotated[
    list[EventType] | None,
    Query(alias="type", max_length=8, description="Only events of this type; may be repeated."),
]
Sample = Annotated[
    int | None,
    Query(
        ge=1,
        le=10_000,
        description="Instead of the first page: so many of the events at most, spread evenly, the newest among them; "
        "no more than `limit`, where that is given. Not for a stream.",
    ),
]
ReportFormat = Annotated[ShownFormat, Query(alias="format", description="Format of the answer.")]
MetricsFormat = Annotated[Literal["json", "csv"], Query(alias="format", description="Format of the answer.")]
Series = Annotated[
    list[str] | None,
    Query(max_length=64, description="Only the series of this name, such as `train/loss`; may be repeated."),
]
Since = Annotated[int | None, Query(ge=0, le=10**15, description="Only points after this optimizer step.")]
Points = Annotated[
    int | None,
    Query(
        alias="points",
        ge=FEWEST_POINTS,
        le=10_000,
        description="At most so many points of each series; all when left out. Kept are its first and its last point, "
        "and of each of equal stretches of its steps the smallest and the largest value; one that was not finite "
        "counts as the largest.",
    ),
]
Split = Annotated[SplitName, Query(description="The split whose rows were predicted.")]
LastEventId = Annotated[
    str | None,
    Header(pattern="^[0-9]{1,18}$", description="Of a stream: the `seq` of the last event that was received."),
]

_ENDED = 204


@router.post(
    "",
    status_code=202,
    openapi_extra=json_body("JobSpec"),
    responses={
        200: json_content("DryRun", "With `dry_run`: the resolved spec and what is known of its cost."),
        202: json_content("Job", "The job, which is queued."),
        **problems(400, 408, 409, 413, 415, 422),
    },
)
async def create_job(
    request: Request,
    caller: KnownCaller,
    services: TheServices,
    dry_run: DryRun = False,
    priority: Priority = 0,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a job that trains a model, or a preflight of one, which estimates its cost and trains nothing."""
    return await service.submit(services, caller, request, idempotency_key, priority=priority, dry=dry_run)


@router.get("", responses={200: json_content("JobPage", "Jobs, newest first."), **problems(400)})
async def list_jobs(
    caller: KnownCaller,
    services: TheServices,
    limit: Limit = 50,
    after: After = None,
    state: State = None,
    kind: Kind = None,
    label: Labels = None,
    text: Text = None,
) -> Response:
    """List jobs, newest first. Inspections of uploads are shown with `kind=inspect` only."""
    shown = JobFilter(state, kind, text, tuple(_label(text) for text in label or ()))
    entries = await service.listed(services, caller, shown, decode_cursor(after), limit)
    return json_text_answer(page_json(entries, limit))


def _label(text: str) -> tuple[str, str | None]:
    key, given, value = text.partition("=")
    return key, value if given else None


@router.get("/{job_id}", responses={200: json_content("Job", "The job."), **problems(400, 404)})
async def get_job(job_id: Identity, caller: KnownCaller, services: TheServices, wait: Wait = 0.0) -> Response:
    """Get a job; with `wait`, as soon as it has ended."""
    return json_text_answer(job_json(await service.get(services, caller, job_id, wait)))


@router.delete("/{job_id}", status_code=204, responses=problems(400, 404, 409))
async def delete_job(job_id: Identity, caller: KnownCaller, services: TheServices) -> Response:
    """Delete an ended job with its events, metrics, files and report. Refused while its student is a model, or while a
    job that has not ended needs it.
    """
    await service.delete(services, caller, job_id)
    return Response(status_code=204)


@router.post(
    "/{job_id}/cancel", responses={200: json_content("Job", "The job after the request."), **problems(400, 404, 409)}
)
async def cancel_job(job_id: Identity, caller: KnownCaller, services: TheServices) -> Response:
    """Cancel a job: at once if no worker holds it, otherwise after the current step and a checkpoint."""
    return json_text_answer(await service.act(services, caller, job_id, "cancel"))


@router.post(
    "/{job_id}/pause", responses={200: json_content("Job", "The job after the request."), **problems(400, 404, 409)}
)
async def pause_job(job_id: Identity, caller: KnownCaller, services: TheServices) -> Response:
    """Pause a job: at once if no worker holds it, otherwise after the current step and a checkpoint."""
    return json_text_answer(await service.act(services, caller, job_id, "pause"))


@router.post(
    "/{job_id}/resume", responses={200: json_content("Job", "The job after the request."), **problems(400, 404, 409)}
)
async def resume_job(job_id: Identity, caller: KnownCaller, services: TheServices) -> Response:
    """Put a paused job back into the queue; it continues from its checkpoint."""
    return json_text_answer(await service.act(services, caller, job_id, "resume"))


@router.post(
    "/{job_id}/retry",
    status_code=202,
    openapi_extra=json_body("RetryRequest", required=False),
    responses={
        202: json_content("Job", "The new job, which is queued."),
        **problems(400, 404, 408, 409, 413, 415, 422),
    },
)
async def retry_job(
    job_id: Identity,
    request: Request,
    caller: KnownCaller,
    services: TheServices,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Repeat a failed or cancelled job as a new job on the same spec, from the start or from its checkpoint."""
    return await retries.retry(services, caller, job_id, request, idempotency_key)


@router.get(
    "/{job_id}/events",
    responses={
        200: {
            "description": "A list; with `Accept: text/event-stream` a stream until the job has ended.",
            "content": {
                "application/json": {"schema": schema_of("JobEventPage")},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        },
        204: {"description": "The job has ended, and the stream has no further events."},
        **problems(400, 404),
    },
)
async def list_job_events(
    job_id: Identity,
    request: Request,
    caller: KnownCaller,
    services: TheServices,
    limit: Limit = 100,
    after: After = None,
    types: EventTypes = None,
    sample: Sample = None,
    last_event_id: LastEventId = None,
) -> Response:
    """List the events of a job, oldest first, or follow them as a stream of server-sent events with `seq` as id."""
    row = await service.get(services, caller, job_id)
    wanted = tuple(types or ())
    is_stream = "text/event-stream" in request.headers.get("accept", "")
    if sample is not None:
        if is_stream:
            raise BadRequest(
                "invalid_parameter",
                "expected `sample` without `Accept: text/event-stream`: a stream has all events, leave out one of them",
            )
        most = min(sample, limit) if "limit" in request.query_params else sample
        found = await streams.sample(services, job_id, _seq(after), most, wanted)
        return json_answer(page_of([(str(event.seq), event) for event in found], most))
    if not is_stream:
        found = await streams.events(services, job_id, _seq(after), limit + 1, wanted)
        return json_answer(page_of([(str(event.seq), event) for event in found], limit))
    seq = int(last_event_id or 0)
    if row.state in TERMINAL and not await streams.events(services, job_id, seq, 1, wanted):
        return Response(status_code=_ENDED)  # tells an EventSource to stop coming back
    return streams.EventStream(services, caller, job_id, seq, wanted)


def _seq(after: str | None) -> int:
    last = decode_cursor(after)
    if last is None:
        return 0
    if not last.isdigit() or len(last) > 18:
        raise BadRequest(
            "invalid_cursor", "expected `after` to be the `next` of an earlier page, unchanged: begin again without it"
        )
    return int(last)


@router.get(
    "/{job_id}/metrics",
    responses={
        200: {
            "description": "The metric series.",
            "content": {
                "application/json": {"schema": schema_of("Metrics")},
                "text/csv": {"schema": {"type": "string"}},
            },
        },
        **problems(400, 404),
    },
)
async def get_job_metrics(
    job_id: Identity,
    caller: KnownCaller,
    services: TheServices,
    fmt: MetricsFormat = "json",
    series: Series = None,
    since: Since = None,
    most: Points = None,
) -> Response:
    """Get the metric series of a job, also while it runs, as JSON or CSV; thinned with `points`."""
    await service.get(services, caller, job_id)
    wanted = Wanted(tuple(series or ()), -1 if since is None else since, most)
    if fmt == "csv":
        headers = {"Content-Disposition": f'attachment; filename="{job_id}.csv"'}
        body = metrics.as_csv(services, job_id, wanted)
        return StreamingResponse(body, media_type="text/csv", headers=headers)
    return json_text_answer(await metrics.as_json(services, job_id, wanted))


@router.get(
    "/{job_id}/report",
    responses={
        200: {
            "description": "The report.",
            "content": {
                "application/json": {"schema": {"oneOf": [schema_of(name) for name in _REPORTS]}},
                **{each: {"schema": {"type": "string"}} for each in MEDIA_TYPES.values()},
            },
        },
        **problems(400, 404, 409),
    },
)
async def get_job_report(
    job_id: Identity, caller: KnownCaller, services: TheServices, fmt: ReportFormat = "json"
) -> Response:
    """Get the report of a succeeded job: teachers, student and control compared; of a preflight its estimates; of the
    export of a quantized file what it loses. As JSON, or for people: a page with charts that needs no other file,
    Markdown, or plain text.
    """
    return await shown(services, *await service.report(services, caller, job_id), fmt)


@router.get(
    "/{job_id}/relation",
    responses={200: json_content("RelationHistory", "The relation and its history so far."), **problems(400, 404)},
)
async def get_job_relation(job_id: Identity, caller: KnownCaller, services: TheServices) -> Response:
    """Get how the tasks of a multitask job affect each other: R over time, affinities, conflicts, proposed groups."""
    return json_answer(await relation.relation(services, caller, job_id))


@router.get(
    "/{job_id}/student/weights",
    responses={**binary_content(BINARY), **problems(400, 404, 409, 416)},
)
async def get_job_student_weights(
    job_id: Identity, request: Request, caller: KnownCaller, services: TheServices, task: Cut = None
) -> Response:
    """Download the student's weights as safetensors, all of them or those that one task needs."""
    return await serve(request, await service.student_weights(services, caller, job_id, task))


@router.get(
    "/{job_id}/predictions",
    responses={**binary_content(BINARY), **problems(400, 404, 409, 416)},
)
async def get_job_predictions(
    job_id: Identity, request: Request, caller: KnownCaller, services: TheServices, split: Split = "test"
) -> Response:
    """Download row numbers, labels and the outputs of teacher, student, control and baselines on a split, as npz."""
    return await serve(request, await service.predictions_of(services, caller, job_id, split))
