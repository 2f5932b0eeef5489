"""Reports in the formats that people read: a page with charts, Markdown, plain text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, assert_never

from fastapi import Response

from app.contracts.reports.document.charts.curves import Points
from app.contracts.reports.document.charts.siblings import Sibling
from app.contracts.reports.document.headline import main_metric
from app.contracts.reports.document.html import POLICY, page
from app.contracts.reports.document.markdown import markdown
from app.contracts.reports.document.text import render
from app.contracts.specs.jobs import WITHOUT_STUDENT
from app.http.answers import json_text_answer
from app.http.services import Services
from app.jobs import metrics, repository
from app.jobs.points import Wanted
from app.jobs.repository import StoredJob

ReportFormat = Literal["json", "html", "markdown", "text"]
MEDIA_TYPES: Final = {"html": "text/html", "markdown": "text/markdown", "text": "text/plain"}
_POINTS = 160
"""Of each curve; a chart has fewer pixels."""
_MOST_SIBLINGS = 40


async def shown(services: Services, job: StoredJob, text: str, fmt: ReportFormat) -> Response:
    """The report of a job, which is stored as this JSON, in a format."""
    if fmt == "json":
        return json_text_answer(text)
    report: dict[str, Any] = json.loads(text)
    title = f"{job.name or job.id} ({job.kind})"
    headers = {"X-Content-Type-Options": "nosniff"}
    match fmt:
        case "text":
            return Response(render(report), headers=headers, media_type=MEDIA_TYPES[fmt])
        case "markdown":
            return Response(markdown(report, title), headers=headers, media_type=MEDIA_TYPES[fmt])
        case "html":
            content = await _page(services, job, report, title)
            return Response(content, headers=headers | {"Content-Security-Policy": POLICY}, media_type=MEDIA_TYPES[fmt])
        case _:
            assert_never(fmt)


async def _page(services: Services, job: StoredJob, report: Mapping[str, Any], title: str) -> str:
    ended = job.finished_at or job.created_at
    about = f"{job.id}, ended {ended:%Y-%m-%d %H:%M} UTC, attempts: {job.attempt}"
    if job.kind in WITHOUT_STUDENT:
        return page(report, title, about)
    stored = await metrics.series_of(services, job.id, Wanted(points=_POINTS))
    series: dict[str, Points] = {name: [(each.step, each.value) for each in found] for name, found in stored.items()}
    async with services.database.read() as session:
        texts = await repository.reports_on_same_data(session, job.id, _MOST_SIBLINGS)
    return page(report, title, about, series, _others(report, [json.loads(each) for each in texts]))


def _others(report: Mapping[str, Any], siblings: Sequence[Mapping[str, Any]]) -> dict[str, list[Sibling]]:
    """By task of the report the students of other jobs whose task has the same target and metric."""
    found: dict[str, list[Sibling]] = {}
    for task, target in _targets(report).items():
        metric = main_metric(report["student"].get("tasks", {}).get(task, {}))
        for sibling in siblings:
            student, spec = sibling["student"], sibling.get("spec", {})
            own = next((name for name, each in _targets(sibling).items() if each == target), None)
            value = student.get("tasks", {}).get(own, {}).get(metric)
            if value is not None and student.get("parameters"):
                name = str(spec.get("name") or sibling.get("kind"))
                found.setdefault(task, []).append(Sibling(name, student["parameters"], value, is_other=True))
    return found


def _targets(report: Mapping[str, Any]) -> dict[str, str]:
    """The dataset's target of each task."""
    spec = report.get("spec", {})
    if "tasks" in spec:
        return {each["name"]: each.get("target") or each["name"] for each in spec["tasks"]}
    return {task: spec.get("target") or task for task in report["student"].get("tasks", {})}
