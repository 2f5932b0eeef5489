"""`stillhouse watch | logs`, and waiting for a job as `submit --wait` does."""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.errors import AsJson, Code
from app.cli.output import note, print_json, show
from app.cli.remote.completion import complete_job
from app.cli.remote.running import connected

if TYPE_CHECKING:  # they are imported when a command runs
    from stillhouse import Event, Job

JobId = Annotated[str, typer.Argument(help="Id of a job.", autocompletion=complete_job)]


def watch(job: JobId, as_json: AsJson = False) -> None:
    """Show the progress of a job until it has ended: a bar in a terminal, else lines."""
    with connected() as client:
        wait(client.jobs.get(job), as_json=as_json)


def wait(job: "Job", *, as_json: bool) -> None:
    """Wait for a job with its progress on stderr, and print how it ended; a job without success is an error."""
    try:
        if sys.stderr.isatty():
            job.wait(progress=True, check=False)
        else:
            _follow(job)
    except KeyboardInterrupt:
        note(f"\nthe job goes on: `stillhouse watch {job.id}` shows it again, `stillhouse cancel {job.id}` ends it")
        raise typer.Exit(Code.INTERRUPTED) from None
    show(job.json, _ended(job), as_json=as_json)
    if job.state != "succeeded":
        raise typer.Exit(Code.REFUSED)


def _follow(job: "Job") -> None:
    """A line for each event, until the job has ended."""
    for event in job.events():
        note(line_of(event))
    job.wait(progress=False, check=False)


def _ended(job: "Job") -> str:
    if job.state == "succeeded":
        return f"{job.id} succeeded" + (f", its student is {job.student_id}" if job.student_id else "")
    error = job.error or {}
    reason = f" ({error.get('code')}): {error.get('message')}" if error else ""
    return f"{job.id} {job.state}{reason}"


def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only events of this type, such as `warning`; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the events of a job, a line for each."""
    with connected() as client:
        found = client.jobs.get(job)
        try:
            for event in found.events(types=types) if follow else found.past_events(types=types):
                if as_json:
                    print_json(event.json)
                else:
                    typer.echo(line_of(event))
        except KeyboardInterrupt:
            raise typer.Exit(Code.INTERRUPTED) from None


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "state": lambda data: str(data.get("state")) + _reason(data.get("error")),
    "phase": lambda data: str(data.get("phase")),
    "progress": lambda data: (
        f"{data.get('percent', 0.0):.0f} %, epoch {data.get('epoch')}/{data.get('epochs')}, step {data.get('step')}"
    ),
    "checkpoint": lambda data: f"after step {data.get('step')}",
    "warning": lambda data: f"{data.get('code')}: {data.get('message')}",
}


def _reason(error: Mapping[str, Any] | None) -> str:
    return f", {error.get('code')}: {error.get('message')}" if error else ""


def line_of(event: "Event") -> str:
    """An event on one line: its time, type and what happened."""
    when = "" if event.time is None else event.time.astimezone().strftime("%H:%M:%S ")
    words = _WORDS.get(event.type, str)
    return f"{when}{event.type:<10} {words(event.data)}"
