"""The relation between a job's tasks: from its report, or from its metrics while it runs."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

from app.contracts.reports.relation import RelationHistory, RelationPoint, Row
from app.contracts.resolving.multitask.relations import matrix_of, normalised, source_of
from app.contracts.specs.jobs import ANY_SPEC, MultitaskJob
from app.contracts.specs.relations import EstimatedRelation, GroupsRelation, MatrixRelation
from app.http.errors import NotFound
from app.http.services import Caller, Services
from app.jobs import metrics, repository, service
from app.jobs.points import StoredPoint, Wanted
from app.jobs.repository import StoredJob

Series = Mapping[str, Sequence[StoredPoint]]


async def relation(services: Services, caller: Caller, job_id: str) -> RelationHistory:
    """The relation of a multitask job. Raises NotFound, also for a job with one task."""
    row = await service.get(services, caller, job_id)
    spec = ANY_SPEC.validate_json(row.newest_spec, strict=False)
    if not isinstance(spec, MultitaskJob):
        raise NotFound(
            "no_relation",
            f"a relation is between the tasks of a multitask job, and this is a {row.kind} job: name a multitask job",
        )
    names = [task.name for task in spec.tasks]
    wanted = [f"{table}/{a}/{b}" for table in ("relation", "affinity") for a in names for b in names]
    wanted += [f"gradient/{a}/{b}/cosine" for a in names for b in names]
    series = await metrics.series_of(services, job_id, Wanted(tuple(wanted)))
    reported = await _reported(services, row)
    tables = reported if reported is not None else _from_metrics(spec, names, series)
    history = _history(names, series)
    return RelationHistory.model_validate({**tables, "final": reported is not None, "history": history}, strict=False)


async def _reported(services: Services, row: StoredJob) -> dict[str, object] | None:
    async with services.database.read() as session:
        text = await repository.report_text(session, row.id)
    if text is None:
        return None
    reported: dict[str, object] | None = json.loads(text).get("relation")
    return reported


def _from_metrics(spec: MultitaskJob, names: Sequence[str], series: Series) -> dict[str, object]:
    """The tables from the metrics so far."""
    relation = spec.relation
    size = len(names)
    matrix = tuple(tuple(float(i == j) for j in range(size)) for i in range(size))
    if isinstance(relation, MatrixRelation | GroupsRelation):
        matrix = normalised(matrix_of(relation, names))
    cosines = {(a, b): _values(series.get(f"gradient/{a}/{b}/cosine", ())) for a in names for b in names}
    angles = [[cosines[a, b] or cosines[b, a] for b in names] for a in names]
    return {
        "tasks": names,
        "source": source_of(relation),
        "apply": getattr(relation, "apply", None),
        "matrix": _latest(names, series) or matrix,
        "method": relation.estimate if isinstance(relation, EstimatedRelation) else "gradient_cosine",
        "measured": max((len(cell) for row in angles for cell in row), default=0),
        "affinity": [[_mean(_values(series.get(f"affinity/{a}/{b}", ()))) for b in names] for a in names],
        "cosine": [[_mean(cell) for cell in row] for row in angles],
        "conflicts": [[_mean([float(value < 0.0) for value in cell]) for cell in row] for row in angles],
    }


def _values(points: Sequence[StoredPoint]) -> list[float]:
    return [point.value for point in points if point.value is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _history(names: Sequence[str], series: Series) -> tuple[RelationPoint, ...]:
    tables: dict[int, list[list[float | None]]] = defaultdict(lambda: [[None] * len(names) for _ in names])
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            for point in series.get(f"relation/{a}/{b}", ()):
                tables[point.step][i][j] = point.value
    return tuple(
        RelationPoint(step=step, matrix=tuple(tuple(row) for row in table)) for step, table in sorted(tables.items())
    )


def _latest(names: Sequence[str], series: Series) -> tuple[Row, ...] | None:
    points = _history(names, series)
    return points[-1].matrix if points else None
