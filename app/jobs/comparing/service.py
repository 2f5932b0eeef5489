"""`GET /v1/compare`: from ids to the answer."""

from collections.abc import Sequence

from app.contracts.base import JobId
from app.contracts.reports.compare import MOST_JOBS, Comparison
from app.db.rows import JobRow
from app.http.errors import BadRequest, Invalid, NotFound
from app.http.services import Caller, Services
from app.jobs import repository
from app.jobs.comparing.candidates import candidate
from app.jobs.comparing.comparable import require_comparable, require_verdicts
from app.jobs.comparing.tables import comparison_of


async def compare(services: Services, caller: Caller, text: str) -> Comparison:
    """The comparison of the jobs whose ids are listed with commas. Raises BadRequest, NotFound, Conflict, Invalid."""
    ids = _ids(text)
    async with services.database.read() as session:
        rows = _in_order(ids, await repository.named(session, caller.project_id, ids))
        require_verdicts(rows)
        reports = await repository.report_texts(session, ids)
        manifests = await repository.manifests_of(session, ids)
        jobs = [candidate(row, reports[row.id], manifests) for row in rows]
        require_comparable(jobs)
        datasets = {ref.dataset for job in jobs for ref in job.spec.dataset_refs()}
        looks = await repository.looks(session, caller.project_id, datasets)
    found = comparison_of(jobs, looks)
    if not found.tasks:
        reasons = "; ".join(f"`{task}`: {reason}" for task, reason in found.not_compared.items())
        raise Invalid.at(
            "/jobs",
            "nothing_to_compare",
            f"expected a task on which every job was compared with its control, found none ({reasons}): compare jobs "
            "on a dataset with labels in its test split",
        )
    return found


def _ids(text: str) -> list[JobId]:
    ids = [part.strip() for part in text.split(",")]
    if not 2 <= len(ids) <= MOST_JOBS or "" in ids:
        raise BadRequest(
            "invalid_parameter",
            f"expected `jobs` to be 2 to {MOST_JOBS} ids separated by commas, found {len(ids) - ids.count('')}: name "
            "as many, with nothing between two commas left out",
        )
    if len(set(ids)) != len(ids):
        raise BadRequest("duplicate_name", "expected `jobs` to be different ids, found one twice: name each job once")
    return ids


def _in_order(ids: Sequence[str], found: Sequence[JobRow]) -> list[JobRow]:
    rows = {row.id: row for row in found}
    for at, each in enumerate(ids):
        if each not in rows:
            raise NotFound("unknown_job", f"no job has id {at + 1} of `jobs`: `GET /v1/jobs` lists them")
    return [rows[each] for each in ids]
