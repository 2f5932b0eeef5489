"""`stillhouse jobs | models | datasets`."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.errors import AsJson
from app.cli.output import print_json
from app.cli.remote.running import connected
from app.cli.remote.tables import ago, size, table

if TYPE_CHECKING:  # they are imported when a command runs
    from stillhouse import Dataset, Job, Model

Limit = Annotated[int, typer.Option(min=1, help="At most so many, newest first.")]
State = Annotated[str | None, typer.Option(help="Only those in this state.")]


def jobs(
    state: State = None,
    kind: Annotated[str | None, typer.Option(help="Only jobs of this kind.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only jobs with this label: `key=value`, or `key`.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connected() as client:
        found = client.jobs.list(state=state, kind=kind, label=label, limit=limit)
        _print(found, ("id", "kind", "state", "done", "age", "name"), _of_job, as_json=as_json)


def models(state: State = None, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List models, newest first."""
    with connected() as client:
        found = client.models.list(state=state, limit=limit)
        _print(found, ("id", "state", "format", "parameters", "size", "age", "name"), _of_model, as_json=as_json)


def datasets(state: State = None, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List datasets, newest first."""
    with connected() as client:
        found = client.datasets.list(state=state, limit=limit)
        _print(found, ("id", "state", "format", "rows", "size", "age", "name"), _of_dataset, as_json=as_json)


def _print(found: Iterable[Any], head: Sequence[str], row: Callable[[Any], Sequence[object]], *, as_json: bool) -> None:
    """JSON lines, or a table."""
    if as_json:
        for each in found:
            print_json(each.json)
        return
    rows = [row(each) for each in found]
    typer.echo(table(head, rows) if rows else "none")


def _of_job(job: "Job") -> Sequence[object]:
    percent = f"{(job.progress or {}).get('percent', 0):.0f} %"
    return job.id, job.kind, job.state, percent, ago(job.created_at), job.name or ""


def _bytes(files: Iterable[dict[str, Any]]) -> str:
    return size(sum(each["bytes"] for each in files))


def _of_model(model: "Model") -> Sequence[object]:
    count = "" if model.parameters is None else f"{model.parameters:,}"
    return model.id, model.state, model.format, count, _bytes(model.files), ago(model.created_at), model.name or ""


def _of_dataset(dataset: "Dataset") -> Sequence[object]:
    rows = "" if dataset.rows is None else f"{dataset.rows:,}"
    age = ago(dataset.created_at)
    return dataset.id, dataset.state, dataset.format, rows, _bytes(dataset.files), age, dataset.name or ""
