"""`stillhouse cancel | pause | resume | retry | delete`."""

from typing import Annotated

import typer

from app.cli.errors import AsJson, Code, fail
from app.cli.output import show
from app.cli.remote.running import connected
from app.cli.remote.watching import JobId


def cancel(job: JobId, as_json: AsJson = False) -> None:
    """Cancel a job: at once if no worker holds it, otherwise after the current step and a checkpoint."""
    with connected() as client:
        found = client.jobs.cancel(job)
        show(found.json, f"{found.id} {found.state}", as_json=as_json)


def pause(job: JobId, as_json: AsJson = False) -> None:
    """Pause a job; `resume` continues it from its checkpoint."""
    with connected() as client:
        found = client.jobs.pause(job)
        show(found.json, f"{found.id} {found.state}", as_json=as_json)


def resume(job: JobId, as_json: AsJson = False) -> None:
    """Put a paused job back into the queue."""
    with connected() as client:
        found = client.jobs.resume(job)
        show(found.json, f"{found.id} {found.state}", as_json=as_json)


def retry(
    job: JobId,
    from_checkpoint: Annotated[
        bool, typer.Option("--from-checkpoint", help="Continue from its newest checkpoint instead of from the start.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Repeat a failed or cancelled job as a new one."""
    with connected() as client:
        found = client.jobs.get(job).retry(from_checkpoint=from_checkpoint)
        show(found.json, f"{found.id} {found.state}, a retry of {job}", as_json=as_json)


def delete(
    identity: Annotated[str, typer.Argument(help="Id of a job that has ended, of a model, or of a dataset.")],
    as_json: AsJson = False,
) -> None:
    """Delete an ended job, a model or a dataset."""
    with connected() as client:
        kinds = {"job": client.jobs.delete, "mdl": client.models.delete, "ds": client.datasets.delete}
        remove = kinds.get(identity.partition("_")[0])
        if remove is None:
            fail("expected an id that begins with job_, mdl_ or ds_, found another: the lists have them", Code.USAGE)
        remove(identity)
        show({"id": identity, "deleted": True}, f"deleted {identity}", as_json=as_json)
