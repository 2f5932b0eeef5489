"""`/v1/compare`."""

from typing import Annotated

from fastapi import Query, Response

from app.access.authentication import KnownCaller, guarded_router
from app.contracts.base import JOB_ID
from app.contracts.reports.compare import MOST_JOBS
from app.http.answers import json_answer, json_content, problems
from app.http.services import TheServices
from app.jobs.comparing import service

router = guarded_router("/v1/compare", "jobs")

JOB_IDS_PATTERN = rf"^{JOB_ID}(,{JOB_ID}){{1,{MOST_JOBS - 1}}}$"
Jobs = Annotated[
    str,
    Query(
        max_length=2000,
        description=f"Ids of 2 to {MOST_JOBS} succeeded distill or multitask jobs, with commas.",
        json_schema_extra={"pattern": JOB_IDS_PATTERN},
    ),
]


@router.get(
    "",
    responses={
        200: json_content("Comparison", "Each job against the control, by task and rank."),
        **problems(400, 404, 409, 422),
    },
)
async def get_comparison(caller: KnownCaller, services: TheServices, jobs: Jobs) -> Response:
    """Compare jobs on the same test rows: all against one control, with intervals corrected for their number."""
    return json_answer(await service.compare(services, caller, jobs))
